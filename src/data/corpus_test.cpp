// Tests of corpus reading: documents, separators at every cut, and files that are not text.
#include "data/corpus.h"

#include <gtest/gtest.h>

#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

CorpusOptions pieces_of(std::size_t bytes) {
  CorpusOptions options;
  options.piece_bytes = bytes;
  return options;
}

std::vector<std::string> documents_of(const std::vector<std::filesystem::path>& files, const CorpusOptions& options) {
  CorpusReader reader(files, options);
  std::vector<std::string> documents;
  CorpusPiece piece;
  bool open = false;
  while (reader.next(piece)) {
    if (!open) documents.emplace_back();
    documents.back() += piece.text;
    open = !piece.ends_document;
    EXPECT_LE(piece.text.size(), 2 * options.piece_bytes + options.document_separator.size() + 4);
  }
  EXPECT_FALSE(open) << "the last document has no end";
  EXPECT_EQ(reader.bytes_read(), reader.bytes_total());
  return documents;
}

TEST(Corpus, EachFileIsADocument) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> files = {test::write_text(folder / "a", "one\ntwo"),
                                                    test::write_text(folder / "b", "\xEF\xBB\xBFthree\n"),
                                                    test::write_text(folder / "c", "\xEF\xBB\xBF")};
  for (std::size_t size = 1; size < 12; ++size) {
    EXPECT_EQ(documents_of(files, pieces_of(size)), (std::vector<std::string>{"one\ntwo", "three\n"})) << size;
  }
}

TEST(Corpus, SeparatorLinesEndDocumentsWhereverPiecesEnd) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> files = {
      test::write_text(folder / "a", "--\n\none\n--\n--\r\ntwo\n---\n --\nx--\n--"),
      test::write_text(folder / "b", "--"), test::write_text(folder / "c", "three\n--\nfour\n-"),
      test::write_text(folder / "d", "five--\n--\r")};
  const std::vector<std::string> expected = {"\none\n", "two\n---\n --\nx--\n", "three\n", "four\n-", "five--\n"};
  for (std::size_t size = 1; size < 50; ++size) {
    EXPECT_EQ(documents_of(files, {.document_separator = "--", .piece_bytes = size}), expected) << size;
  }
}

TEST(Corpus, LinesAreDocumentsWherePiecesEndAnywhere) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> files = {
      test::write_text(folder / "a", "\xEF\xBB\xBFone\n\n two \r\n\r\nthr\ree"),
      test::write_text(folder / "b", "four\n")};
  for (std::size_t size = 1; size < 30; ++size) {
    EXPECT_EQ(documents_of(files, {.line_documents = true, .piece_bytes = size}),
              (std::vector<std::string>{"one", " two ", "thr\ree", "four"}))
        << size;
  }
  error_of(ErrorKind::usage, [&] { CorpusReader(files, {.document_separator = "--", .line_documents = true}); });
}

TEST(Corpus, RecordsOfJsonLinesAreDocuments) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> files = {
      test::write_text(folder / "a.jsonl", "{\"text\": \"one\\ntwo\", \"id\": [1]}\r\n\n  \n{\"text\":\"\"}\n"),
      test::write_text(folder / "b.ndjson", "{\"text\": \"\\u00e9\"}"), test::write_text(folder / "c.txt", "{}\n")};
  for (const std::size_t size : {1, 7, 1000}) {
    CorpusReader reader(files, {.line_documents = true, .piece_bytes = size});
    std::vector<std::string> documents;
    CorpusPiece piece;
    bool open = false;
    while (reader.next(piece)) {
      if (!open) documents.emplace_back();
      documents.back() += piece.text;
      open = !piece.ends_document;
    }
    EXPECT_EQ(documents, (std::vector<std::string>{"one\ntwo", "\u00e9", "{}"})) << size;
  }
  for (const std::string wrong : {"{\"text\": 3}", "[]", "{\"txt\": \"x\"}", "plain"}) {
    const auto path = test::write_text(folder / "wrong.jsonl", "{\"text\": \"x\"}\n" + wrong + "\n");
    const std::string message = error_of(ErrorKind::input, [&] {
      CorpusReader reader(std::vector{path}, {.line_documents = true});
      CorpusPiece piece;
      while (reader.next(piece)) {
      }
    });
    EXPECT_NE(message.find("wrong.jsonl: line 2"), std::string::npos) << message;
  }
}

TEST(Corpus, FilesThatAreNoTextAreRefused) {
  const auto folder = test::fresh_folder();
  const auto message_for = [&](ErrorKind kind, const std::filesystem::path& path) {
    return error_of(kind, [&] { documents_of({path}, pieces_of(7)); });
  };
  EXPECT_NE(message_for(ErrorKind::io, folder / "missing").find("missing"), std::string::npos);
  EXPECT_NE(message_for(ErrorKind::input, folder).find("folder"), std::string::npos);
  EXPECT_NE(message_for(ErrorKind::input, test::write_text(folder / "empty", "")).find("empty is empty"),
            std::string::npos);
  const std::string nul =
      message_for(ErrorKind::input, test::write_text(folder / "nul", std::string("text and\0it", 11)));
  EXPECT_NE(nul.find("nul is not text: byte 8 is NUL"), std::string::npos) << nul;
  // One byte in ten may be invalid, the character that the file's end cuts off included.
  EXPECT_NO_THROW(documents_of({test::write_text(folder / "latin",
                                                 "123456789\xE9"
                                                 "123456789\xE9")},
                               pieces_of(3)));
  const std::string binary = message_for(ErrorKind::input, test::write_text(folder / "binary",
                                                                            "12345678\xE9"
                                                                            "123456789\xE9"));
  EXPECT_NE(binary.find("2 of its first 19 bytes"), std::string::npos) << binary;
  EXPECT_NO_THROW(documents_of({test::write_text(folder / "utf8", "\u00E9\u4E2D\U0001F600")}, pieces_of(1)));
}

TEST(Corpus, LongFilesAreJudgedByTheirFirstMebibyte) {
  const auto folder = test::fresh_folder();
  const std::string invalid(std::size_t{1} << 20, '\xFF');
  const auto late = test::write_text(folder / "late", std::string(std::size_t{1} << 20, 'a') + invalid);
  EXPECT_EQ(documents_of({late}, {}).size(), 1U);
  const auto early = test::write_text(folder / "early", invalid + std::string(std::size_t{1} << 24, 'a'));
  error_of(ErrorKind::input, [&] { documents_of({early}, {}); });
}

TEST(Corpus, FilesThatAreNoTextArePassedOver) {
  const auto folder = test::fresh_folder();
  const std::string late = std::string(std::size_t{3} << 19, 'a') + std::string(1, '\0');
  const std::vector<std::filesystem::path> files = {
      test::write_text(folder / "empty", ""), test::write_text(folder / "one", "one"),
      test::write_text(folder / "late", late), test::write_text(folder / "two", "two")};
  CorpusReader reader(files, pieces_of(100));
  std::string text;
  CorpusPiece piece;
  while (reader.next(piece)) text += piece.text;
  EXPECT_EQ(text, "onetwo");
  ASSERT_EQ(reader.skipped().size(), 2U);
  EXPECT_NE(reader.skipped()[0].find("empty is empty"), std::string::npos) << reader.skipped()[0];
  EXPECT_NE(reader.skipped()[1].find("late is not text: byte 1572864 is NUL"), std::string::npos)
      << reader.skipped()[1];

  // Not where the user says so, nor where nothing is left.
  error_of(ErrorKind::input, [&] { CorpusReader(files, {.document_separator = "", .strict = true}); });
  const std::vector<std::filesystem::path> some = {files[1], files[2]};
  const std::string strict = error_of(ErrorKind::input, [&] {
    CorpusReader stopping(some, {.document_separator = "", .strict = true});
    while (stopping.next(piece)) {
    }
  });
  EXPECT_NE(strict.find("late is not text"), std::string::npos) << strict;
  const std::vector<std::filesystem::path> none = {files[0], files[2]};
  const std::string message = error_of(ErrorKind::input, [&] {
    CorpusReader stopping(none, {});
    stopping.next(piece);
  });
  EXPECT_NE(message.find("None of the 2 files is text"), std::string::npos) << message;
}

TEST(Corpus, OptionsAreChecked) {
  const std::vector<std::filesystem::path> none;
  error_of(ErrorKind::usage, [&] { CorpusReader(none, {}); });
  const std::vector<std::filesystem::path> one = {test::write_text(test::fresh_folder() / "a", "a")};
  error_of(ErrorKind::usage, [&] { CorpusReader(one, {.document_separator = "a\nb", .piece_bytes = 1}); });
  error_of(ErrorKind::usage, [&] { CorpusReader(one, pieces_of(0)); });
}

TEST(Corpus, FilesCutWhileTheyAreReadAreNamed) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> files = {test::write_text(folder / "a", std::string(100, 'x')),
                                                    test::write_text(folder / "b", std::string(100, 'y'))};
  CorpusReader reader(files, pieces_of(10));
  CorpusPiece piece;
  reader.next(piece);
  std::filesystem::resize_file(files[1], 50);
  const std::string message = error_of(ErrorKind::io, [&] {
    while (reader.next(piece)) {
    }
  });
  EXPECT_NE(message.find("b was shortened"), std::string::npos) << message;
}

}  // namespace
}  // namespace mslt
