/* What a program is linked with in place of one of CUDA's shared libraries: each function looks for the real library when it
 * is first called, so the program starts on machines without CUDA. Where the library or the function is missing, calls
 * return a status that says so. x86-64 Linux.
 *
 * Compiled once for each library, with
 *   LIBRARY    the real library's file name, a string
 *   COMPANION  a library in the same folder that the real one opens later, by name; or ""
 *   MISSING    the status of a function that is not there
 *   FUNCTIONS  a header with one line FUNCTION(name, number) for each function, numbered from 0
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION(name, number) #name,
static const char *const names[] = {
#include FUNCTIONS
};
#undef FUNCTION

#define COUNT (sizeof names / sizeof *names)

/* Where calls go; null before the first one. The assembly below reads it too. */
__attribute__((used)) static void *targets[COUNT];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *library;
static char complaint[128];

static int logs(void) {
  const char *value = getenv("CUDA_CALL_THROUGH_LOG");
  return value && *value && strcmp(value, "0") != 0;
}

static void *open_in(const char *folder, size_t length, const char *below) {
  char path[4096];
  if (length == 0 || length > sizeof path - 256) return NULL;
  int n = snprintf(path, sizeof path, "%.*s%s/", (int)length, folder, below);
  if (*COMPANION) {
    strcpy(path + n, COMPANION);
    dlopen(path, RTLD_LAZY);
  }
  strcpy(path + n, LIBRARY);
  return dlopen(path, RTLD_LAZY);
}

static void find_library(void) {
  static const char *const usual[] = {"/usr/local/cuda", "/opt/cuda", "/usr/local/nvidia"};
  for (const char *list = getenv("CUDA_LIBRARY_PATH"); list && *list && !library;) {
    size_t length = strcspn(list, ":");
    library = open_in(list, length, "");
    list += length + (list[length] == ':');
  }
  if (!library) library = dlopen(LIBRARY, RTLD_LAZY);
  const char *home = getenv("CUDA_HOME");
  if (!library && home) library = open_in(home, strlen(home), "/lib64");
  for (size_t i = 0; i < sizeof usual / sizeof *usual && !library; i++)
    library = open_in(usual[i], strlen(usual[i]), "/lib64");

  snprintf(complaint, sizeof complaint, library ? "%s lacks this function" : "%s was not found", LIBRARY);
  if (!logs()) return;
  char folder[4096] = "not found";
  if (library) dlinfo(library, RTLD_DI_ORIGIN, folder);
  fprintf(stderr, "cuda: %s: %s\n", LIBRARY, folder);
}

/* Functions in the place of missing ones. Those that explain a status do so in a text: either the text is the result, or its
 * address goes where the second argument says. */
static long missing(void) { return MISSING; }

static const char *text(void) { return complaint; }

static long text_by_address(long status, const char **out) {
  (void)status;
  if (out) *out = complaint;
  return 0;
}

static int ends(const char *name, const char *with) {
  size_t all = strlen(name), part = strlen(with);
  return all >= part && strcmp(name + all - part, with) == 0;
}

static void *substitute(const char *name) {
  if (strcmp(name, "cuGetErrorName") == 0 || strcmp(name, "cuGetErrorString") == 0) return text_by_address;
  if (ends(name, "ErrorString") || ends(name, "StatusString") || ends(name, "StatusName")) return text;
  return missing;
}

__attribute__((used)) static void *find_function(size_t number) {
  pthread_once(&once, find_library);
  void *found = library ? dlsym(library, names[number]) : NULL;
  if (!found) {
    if (logs()) fprintf(stderr, "cuda: %s: no %s\n", LIBRARY, names[number]);
    found = substitute(names[number]);
  }
  __atomic_store_n(&targets[number], found, __ATOMIC_RELEASE);
  return found;
}

/* Comes from a function below with its number in r11 and the caller's arguments in place; finds the real function and goes
 * on there as if nothing had been between. */
__attribute__((naked, used)) static void first_call(void) {
  __asm__(
      "push %rbp\n"
      ".cfi_def_cfa_offset 16\n"
      ".cfi_offset %rbp, -16\n"
      "mov %rsp, %rbp\n"
      ".cfi_def_cfa_register %rbp\n"
      "sub $192, %rsp\n"
      "mov %rdi, (%rsp)\n"
      "mov %rsi, 8(%rsp)\n"
      "mov %rdx, 16(%rsp)\n"
      "mov %rcx, 24(%rsp)\n"
      "mov %r8, 32(%rsp)\n"
      "mov %r9, 40(%rsp)\n"
      "mov %rax, 48(%rsp)\n"
      "movaps %xmm0, 64(%rsp)\n"
      "movaps %xmm1, 80(%rsp)\n"
      "movaps %xmm2, 96(%rsp)\n"
      "movaps %xmm3, 112(%rsp)\n"
      "movaps %xmm4, 128(%rsp)\n"
      "movaps %xmm5, 144(%rsp)\n"
      "movaps %xmm6, 160(%rsp)\n"
      "movaps %xmm7, 176(%rsp)\n"
      "mov %r11, %rdi\n"
      "call find_function\n"
      "mov %rax, %r11\n"
      "mov (%rsp), %rdi\n"
      "mov 8(%rsp), %rsi\n"
      "mov 16(%rsp), %rdx\n"
      "mov 24(%rsp), %rcx\n"
      "mov 32(%rsp), %r8\n"
      "mov 40(%rsp), %r9\n"
      "mov 48(%rsp), %rax\n"
      "movaps 64(%rsp), %xmm0\n"
      "movaps 80(%rsp), %xmm1\n"
      "movaps 96(%rsp), %xmm2\n"
      "movaps 112(%rsp), %xmm3\n"
      "movaps 128(%rsp), %xmm4\n"
      "movaps 144(%rsp), %xmm5\n"
      "movaps 160(%rsp), %xmm6\n"
      "movaps 176(%rsp), %xmm7\n"
      "leave\n"
      ".cfi_def_cfa %rsp, 8\n"
      "jmp *%r11\n");
}

#define FUNCTION(name, number)                    \
  __asm__(".text\n"                               \
          ".globl " #name "\n"                    \
          ".type " #name ", @function\n"          \
          #name ":\n"                             \
          "mov targets+8*" #number "(%rip), %r11\n" \
          "test %r11, %r11\n"                     \
          "jz 1f\n"                               \
          "jmp *%r11\n"                           \
          "1: mov $" #number ", %r11d\n"          \
          "jmp first_call\n"                      \
          ".size " #name ", .-" #name "\n");
#include FUNCTIONS
