// TensorBoard event files, written without protobuf or TensorFlow.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// Writes one events.out.tfevents.* file. The file is a sequence of TFRecords:
//   length u64 | masked CRC of those 8 bytes u32 | payload | masked CRC of the payload u32     (little endian)
// with masked CRC = rotate_right(crc32c, 15) + 0xA282EAD8; a payload is one serialised Event message. Each record is
// handed to the operating system at once. One thread at a time.
class TensorBoardWriter {
 public:
  // Creates `folder` (but not what it lies in) and a new file in it. Where first_step is above 1 or the folder holds
  // files already, a session-start event tells TensorBoard to drop what those hold from that step on. Throws Error(io).
  explicit TensorBoardWriter(const std::filesystem::path& folder, std::int64_t first_step = 1);
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;
  ~TensorBoardWriter();

  const std::filesystem::path& path() const { return path_; }

  // Throw Error(io) if the event cannot be written; the file then ends with the one before.
  void scalar(std::int64_t step, std::string_view tag, double value);
  // Shown by TensorBoard's text tab, as preformatted text.
  void text(std::int64_t step, std::string_view tag, std::string_view text);

 private:
  void write_event(const std::string& event);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t bytes_ = 0;  // of whole records
};

}  // namespace mslt
