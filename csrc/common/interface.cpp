// By which schemas a library was built. The Python side looks for these words in the file before it loads it.
namespace spnas {

#define SPNAS_TEXT(words) #words
#define SPNAS_EXPANDED(words) SPNAS_TEXT(words)

extern const char interface[];
__attribute__((used)) const char interface[] = "spnas interface " SPNAS_EXPANDED(SPNAS_INTERFACE);

}  // namespace spnas
