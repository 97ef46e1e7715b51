// Suppressions for LeakSanitizer in programs with Objective-C: its runtime and GNUstep keep their tables of classes and
// selectors, and their caches, without a way to free them. The double counts its own objects. In the program, not in
// tests/lsan.supp, since the build also runs it, to list its tests.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libobjc.so\nleak:libgnustep-base.so\n";
}
