// Unicode's normalisation forms.
#pragma once

#include <string>
#include <string_view>

namespace mslt {

// NFC (Unicode standard annex 15) of the text: canonical decomposition, canonical ordering, canonical composition, with
// the data of the version that unicode_tables.h names. Bytes that are not valid UTF-8 pass through, and nothing is
// joined or moved across them. Text that is in NFC already, ASCII above all, is only scanned and copied. Takes time
// linear in the length of the text. Safe to call from several threads.
std::string normalize_nfc(std::string_view text);

// The four forms. NFD and NFKD decompose, NFC and NFKC also compose; NFKC and NFKD replace what is only compatible.
enum class NormalizationForm { nfc, nfd, nfkc, nfkd };

// Any of the forms, with what normalize_nfc says.
std::string normalize(std::string_view text, NormalizationForm form);

}  // namespace mslt
