// Tests of safetensors files: round trips, every kind of false header, shards.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/fail.h"
#include "formats/test_folders.h"

namespace mslt {
namespace {

std::string length_field(std::uint64_t length) {
  std::string field(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) field[i] = static_cast<char>(length >> (8 * i) & 0xffu);
  return field;
}

// A file with the correct length field for `header`.
std::string file_of(std::string_view header, std::size_t data_bytes) {
  return length_field(header.size()) + std::string(header) + std::string(data_bytes, 'd');
}

SafetensorsHeader parse_tensors(std::string_view file) {
  return parse_safetensors_header(std::as_bytes(std::span(file.data(), file.size())), "x.safetensors");
}

// The message that refuses `file`; fails the test if the file is accepted or the message names no file.
std::string refusal(std::string_view file) {
  try {
    parse_tensors(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string_view(error.what()).find("x.safetensors"), std::string_view::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << file.substr(0, 200);
  return {};
}

void expect_refused(std::string_view file, std::string_view reason) {
  EXPECT_NE(refusal(file).find(reason), std::string::npos) << refusal(file);
}

void write_floats(const std::filesystem::path& path, const std::vector<SafetensorsWriter::Declaration>& tensors,
                  const std::vector<float>& values) {
  AtomicFile file(path);
  SafetensorsWriter writer(file, tensors);
  writer.write(std::as_bytes(std::span(values)));
  writer.finish();
  file.commit();
}

TEST(SafetensorsHeader, ReadsEntriesInTheOrderOfTheirData) {
  const SafetensorsHeader header =
      parse_tensors(file_of(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                            R"("__metadata__":{"format":"pt","note":"é"},)"
                            R"("a":{"shape":[2,1],"data_offsets":[0,8],"dtype":"F32"}}   )",
                            11));
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].shape, (std::vector<std::uint64_t>{2, 1}));
  EXPECT_EQ(header.entries[1].dtype, "U8");
  EXPECT_EQ(header.entries[1].end, 11u);
  EXPECT_EQ(header.metadata.at("note"), "é");
}

TEST(SafetensorsHeader, AcceptsWhatIsUnusualButValid) {
  EXPECT_TRUE(parse_tensors(file_of("{}", 0)).entries.empty());
  // A scalar, a tensor without elements, and an unknown dtype.
  EXPECT_EQ(parse_tensors(file_of(R"({"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                                  R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[8,8]},)"
                                  R"("f":{"dtype":"F2","shape":[4],"data_offsets":[8,9]}})",
                                  9))
                .entries.size(),
            3u);
  EXPECT_EQ(parse_tensors(file_of(R"({"":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", 2)).entries[0].name, "");
}

TEST(SafetensorsHeader, RefusesFilesThatAreSomethingElse) {
  expect_refused("", "0 bytes");
  expect_refused("short", "5 bytes");
  expect_refused("This is a plain text, not a tensor file.", "not a safetensors file");
  expect_refused(length_field(4) + "null", "does not start with");
  expect_refused(length_field(2) + "  ", "does not start with");
  expect_refused(file_of("[]", 0), "does not start with");
  expect_refused(file_of("{ ", 0), "stops being JSON");
  expect_refused(file_of("{}}", 0), "stops being JSON at byte 10");
  expect_refused(file_of(R"({"a)"
                         "\xff"
                         R"(":1})",
                         0),
                 "stops being JSON");
}

TEST(SafetensorsHeader, RefusesLengthsThatLie) {
  expect_refused(length_field(1000) + "{}", "the file ends after 10 bytes");
  expect_refused(length_field(~std::uint64_t{0}) + "{}", "at most 100000000");
  expect_refused(length_field(~std::uint64_t{0} - 7) + "{}", "at most 100000000");
  expect_refused(length_field(100'000'001) + "{}", "at most 100000000");
  expect_refused(length_field(0) + "{}", "does not start with");
  expect_refused(length_field(1) + "{}", "stops being JSON");
}

TEST(SafetensorsHeader, RefusesDataOutsideOverlappingOrUnclaimed) {
  const auto one = [](std::string_view offsets) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})", offsets);
  };
  EXPECT_NO_THROW(parse_tensors(file_of(one("[0,4]"), 4)));
  expect_refused(file_of(one("[0,4]"), 3), "truncated");
  expect_refused(file_of(one("[0,4]"), 5), "last 1 bytes");
  expect_refused(file_of(one("[1,5]"), 5), "belong to no tensor");
  expect_refused(file_of(one("[4,0]"), 4), "do not lie within");
  expect_refused(file_of(one("[0,18446744073709551615]"), 4), "do not lie within");
  expect_refused(file_of(one("[18446744073709551612,18446744073709551615]"), 4), "do not lie within");
  const auto two = [](std::string_view a, std::string_view b) {
    return fmt::format(
        R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
        a, b);
  };
  EXPECT_NO_THROW(parse_tensors(file_of(two("[4,8]", "[0,4]"), 8)));
  expect_refused(file_of(two("[0,4]", "[3,7]"), 7), "inside the tensor before it");
  expect_refused(file_of(two("[0,4]", "[0,4]"), 4), "inside the tensor before it");
  expect_refused(file_of(two("[0,4]", "[5,9]"), 9), "bytes 4 to 5");
}

TEST(SafetensorsHeader, RefusesSizesThatLieOrOverflow) {
  const auto sized = [](std::string_view dtype, std::string_view shape) {
    return file_of(fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":[0,16]}}}})", dtype, shape), 16);
  };
  EXPECT_NO_THROW(parse_tensors(sized("F32", "[2,2]")));
  EXPECT_NO_THROW(parse_tensors(sized("I64", "[2]")));
  expect_refused(sized("F16", "[2,2]"), "64 bits");
  expect_refused(sized("F32", "[5]"), "160 bits");
  expect_refused(sized("F32", "[0]"), "0 bits");
  expect_refused(sized("F4", "[31]"), "124 bits");
  expect_refused(sized("F32", "[-2,-2]"), "negative number -2");
  expect_refused(sized("F32", "[2.0,2]"), "number 2.0");
  expect_refused(sized("F32", "[4294967296,4294967296]"), "overflows");
  expect_refused(sized("F32", "[4611686018427387904,4]"), "overflows");
  expect_refused(sized("F32", "[0,4294967296,4294967296]"), "overflows");
  expect_refused(sized("F32", "[1e400]"), "x.safetensors");
  expect_refused(sized("F32", "[18446744073709551616]"), "number 18446744073709551616");
  std::string long_shape = "[1";
  for (int i = 0; i < 64; ++i) long_shape += ",1";
  expect_refused(sized("F32", long_shape + "]"), "more than 64 dimensions");
}

TEST(SafetensorsHeader, RefusesEveryOtherGrammar) {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_NO_THROW(parse_tensors(file_of("{" + a + "}", 1)));
  expect_refused(file_of("{" + a + "," + a + "}", 1), "'a' occurs twice in the header");
  expect_refused(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), "occurs twice");
  expect_refused(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "occurs twice in __metadata__");
  expect_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "occurs twice");
  expect_refused(file_of(R"({"__metadata__":{"k":1}})", 0), "number 1");
  expect_refused(file_of(R"({"__metadata__":{"k":{}}})", 0), "an object");
  expect_refused(file_of(R"({"__metadata__":[]})", 0), "a list");
  expect_refused(file_of(R"({"__metadata__":"pt"})", 0), "the text 'pt'");
  expect_refused(file_of(R"({"a":1})", 0), "number 1");
  expect_refused(file_of(R"({"a":null})", 0), "null");
  expect_refused(file_of(R"({"a":{}})", 0), "lacks one of");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[1]}})", 1), "lacks one of");
  expect_refused(file_of(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", 1), "number 1");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1), "number 1");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1), "a list");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})", 1), "a boolean");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}})", 1), "fewer than two");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1), "a third number");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1}})", 1), "member 'more'");
  std::string deep = R"({"a":)";
  for (int i = 0; i < 1'000'000; ++i) deep += '[';
  expect_refused(file_of(deep, 0), "a list");
}

TEST(SafetensorsFile, WritesWhatItReads) {
  const auto path = fresh_folder("safetensors_round") / "m.safetensors";
  {
    AtomicFile file(path);
    const std::vector<SafetensorsWriter::Declaration> tensors = {
        {"wide", "I64", {1}}, {"f", "F32", {2, 3}}, {"none", "BF16", {0, 4}}, {"h", "F16", {3}}, {"u", "U8", {}}};
    SafetensorsWriter writer(file, tensors, {{"format", "pt"}, {"made by", "a \"test\"\n"}});
    std::vector<std::byte> data(8 + 24 + 6 + 1);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
    writer.write(std::span(data).first(11));
    EXPECT_THROW(writer.finish(), Error);
    writer.write(std::span(data).subspan(11));
    EXPECT_THROW(writer.write(std::span(data).first(1)), Error);
    writer.finish();
    file.commit();
  }
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("made by"), "a \"test\"\n");
  ASSERT_EQ(file.entries().size(), 5u);
  const auto bytes = [&](std::size_t i) {
    return file.bytes(file.entries()[i]);
  };
  EXPECT_EQ(file.entries()[0].name, "wide");
  EXPECT_EQ(bytes(0)[7], std::byte{7});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes(0).data()) % 64, 0u);
  EXPECT_EQ(bytes(1)[0], std::byte{8});
  EXPECT_EQ(bytes(1).size(), 24u);
  EXPECT_EQ(file.entries()[2].name, "none");
  EXPECT_TRUE(bytes(2).empty());
  EXPECT_EQ(bytes(3)[0], std::byte{32});
  EXPECT_EQ(bytes(4)[0], std::byte{38});
}

TEST(SafetensorsFile, EveryTruncationIsRefused) {
  const auto folder = fresh_folder("safetensors_truncated");
  write_floats(folder / "m", {{"a", "F32", {2}}, {"b", "F32", {1, 1}}}, {1, 2, 3});
  const std::string whole = read_file(folder / "m", 1000);
  EXPECT_NO_THROW(parse_tensors(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) refusal(std::string_view(whole).substr(0, size));
}

TEST(SafetensorsFile, RefusesFoldersAndMissingFiles) {
  const auto folder = fresh_folder("safetensors_missing");
  EXPECT_THROW(SafetensorsFile{folder}, Error);
  EXPECT_THROW(SafetensorsFile{folder / "missing"}, Error);
  write_file(folder / "empty", "");
  EXPECT_THROW(SafetensorsFile{folder / "empty"}, Error);
}

TEST(SafetensorsWriter, RefusesWhatCannotBeWritten) {
  const auto path = fresh_folder("safetensors_writer") / "m";
  AtomicFile file(path);
  const auto declare = [&](std::vector<SafetensorsWriter::Declaration> tensors) {
    const SafetensorsWriter writer(file, tensors);
  };
  EXPECT_THROW(declare({{"a", "F33", {1}}}), Error);
  EXPECT_THROW(declare({{"a", "F4", {2}}}), Error);
  EXPECT_THROW(declare({{"a", "U8", {1}}, {"a", "U8", {1}}}), Error);
  EXPECT_THROW(declare({{"__metadata__", "U8", {1}}}), Error);
  EXPECT_THROW(declare({{"a", "U8", {3}}, {"b", "F32", {1}}}), Error);
  EXPECT_THROW(declare({{"a", "F32", {1u << 31, 1u << 31, 4}}}), Error);
  EXPECT_EQ(file.size(), 0u);
}

TEST(SafetensorsModel, JoinsShards) {
  const auto folder = fresh_folder("safetensors_shards");
  EXPECT_THROW(SafetensorsModel{folder}, Error);
  write_floats(folder / "m-1.safetensors", {{"b", "F32", {1}}}, {2});
  write_floats(folder / "m-2.safetensors", {{"a", "F32", {1}}, {"c", "F32", {1}}}, {1, 3});
  const auto index = [&](const std::string& map) {
    write_file(folder / "model.safetensors.index.json", R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
  };
  index(R"({"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"})");
  const SafetensorsModel model(folder);
  ASSERT_EQ(model.tensors().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    float value = 0;
    std::memcpy(&value, model.tensors()[i].data.data(), sizeof(value));
    EXPECT_EQ(value, static_cast<float>(i + 1));
  }
  const std::vector<std::string> bad = {
      R"({"a":"m-2.safetensors","b":"m-1.safetensors"})",
      R"({"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-1.safetensors"})",
      R"({"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors","d":"m-2.safetensors"})",
      R"({"a":"missing.safetensors"})",
      R"({"a":1})",
      R"([])",
  };
  for (const std::string& map : bad) {
    index(map);
    EXPECT_THROW(SafetensorsModel{folder}, Error) << map;
  }
  write_floats(folder / "model.safetensors", {{"single", "F32", {1}}}, {1});
  EXPECT_EQ(SafetensorsModel(folder).tensors()[0].name, "single");
}

TEST(SafetensorsModel, ShardsStayInTheFolder) {
  for (const char* name : {"../m.safetensors", "/etc/m.safetensors", "a/m.safetensors", "a\\\\m.safetensors",
                           ".safetensors", "..", "", "m.bin", "m\\u0000.safetensors"}) {
    EXPECT_THROW(parse_safetensors_index(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name), "i"), Error) << name;
  }
  EXPECT_EQ(parse_safetensors_index(R"({"weight_map":{"a":"m.safetensors"}})", "i").at("a"), "m.safetensors");
  EXPECT_THROW(parse_safetensors_index("[]", "i"), Error);
  EXPECT_THROW(parse_safetensors_index("", "i"), Error);
}

}  // namespace
}  // namespace mslt
