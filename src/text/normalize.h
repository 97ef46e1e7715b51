// Unicode's normalisation forms.
#pragma once

#include <string>
#include <string_view>

namespace mslt {

// The text in NFC (Unicode standard annex 15): canonical decomposition, canonical ordering, canonical composition, with
// the data of the version in unicode_tables.h. Bytes that are not valid UTF-8 pass through; nothing is joined or moved
// across them. Text already in NFC, above all ASCII, is only scanned and copied. Takes time linear in the length of the
// text. Safe to call from several threads.
std::string normalize_nfc(std::string_view text);

// The four forms. NFD and NFKD decompose, NFC and NFKC also compose; NFKC and NFKD replace compatibility characters.
enum class NormalizationForm { nfc, nfd, nfkc, nfkd };

// Any of the forms; as normalize_nfc.
std::string normalize(std::string_view text, NormalizationForm form);

}  // namespace mslt
