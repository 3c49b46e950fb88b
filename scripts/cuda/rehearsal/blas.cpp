// The part of cuBLAS that is called: products of matrices that are stored by columns, as work of the handle's stream.
// What cuBLAS's documentation does not allow is refused with the status that it names.
#include "rehearsal.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
enum Compute { AS_F32 = 68, AS_F64 = 70, FAST_TF32 = 77 };
enum Operation { PLAIN = 0, TRANSPOSED = 1 };

struct Handle {
    void* stream = nullptr;
    uint64_t workspace = 0, workspace_bytes = 0;
};

std::set<Handle*> handles;

struct Product {
    Operation ta, tb;
    int m, n, k;
    double alpha, beta;
    uint64_t a, b, c;
    Type type, result;
    int lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int batch;
    bool tf32;
    uint64_t workspace, workspace_bytes;
};

size_t bytes_of(Type type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }

double load(uint64_t at, size_t i, Type type) {
    if (type == F64) return ((const double*)at)[i];
    if (type == F32) return ((const float*)at)[i];
    uint32_t bits = (uint32_t)((const uint16_t*)at)[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

void store(uint64_t at, size_t i, Type type, double value) {
    if (type == F64) {
        ((double*)at)[i] = value;
        return;
    }
    float x = (float)value;
    if (type == F32) {
        ((float*)at)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    // to nearest, ties to even
    ((uint16_t*)at)[i] = (uint16_t)(x != x ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Rounds to 10 bits, as tensor cores do where they may.
float tf32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fffu;
    memcpy(&x, &bits, 4);
    return x;
}

// Bytes from the first to the last number of a batch.
size_t extent(int rows, int columns, int ld, long long stride, int batch, Type type) {
    if (rows == 0 || columns == 0) return 0;
    size_t last = (size_t)stride * (size_t)(batch - 1) + (size_t)ld * (size_t)(columns - 1) + (size_t)rows;
    return last * bytes_of(type);
}

template <class T> void multiply(const Product& p) {
    size_t m = (size_t)p.m, n = (size_t)p.n, k = (size_t)p.k;
    // op(a) by columns, op(b) by columns
    std::vector<T> a(m * k), b(k * n), sums(4 * m);
    auto number = [&](uint64_t at, size_t i) {
        T x = (T)load(at, i, p.type);
        return p.tf32 ? (T)tf32((float)x) : x;
    };
    for (size_t e = 0; e < (size_t)p.batch; e++) {
        uint64_t pa = p.a + e * (size_t)p.stride_a * bytes_of(p.type), pb = p.b + e * (size_t)p.stride_b * bytes_of(p.type);
        uint64_t pc = p.c + e * (size_t)p.stride_c * bytes_of(p.result);
        size_t lda = (size_t)p.lda, ldb = (size_t)p.ldb, ldc = (size_t)p.ldc;
        if (e == 0 || p.stride_a)
            for (size_t l = 0; l < k; l++)
                for (size_t i = 0; i < m; i++) a[l * m + i] = number(pa, p.ta == PLAIN ? l * lda + i : i * lda + l);
        if (e == 0 || p.stride_b)
            for (size_t j = 0; j < n; j++)
                for (size_t l = 0; l < k; l++) b[j * k + l] = number(pb, p.tb == PLAIN ? j * ldb + l : l * ldb + j);
        for (size_t j = 0; j < n; j += 4) {
            size_t columns = std::min<size_t>(4, n - j);
            std::fill(sums.begin(), sums.end(), (T)0);
            for (size_t l = 0; l < k; l++)
                for (size_t c = 0; c < columns; c++) {
                    T factor = b[(j + c) * k + l], *sum = sums.data() + c * m;
                    const T* column = a.data() + l * m;
                    for (size_t i = 0; i < m; i++) sum[i] += factor * column[i];
                }
            for (size_t c = 0; c < columns; c++)
                for (size_t i = 0; i < m; i++) {
                    size_t place = (j + c) * ldc + i;
                    T value = (T)p.alpha * sums[c * m + i];
                    // what is there is not read if its factor is 0
                    if (p.beta != 0) value += (T)p.beta * (T)load(pc, place, p.result);
                    store(pc, place, p.result, (double)value);
                }
        }
    }
}

void run(const void* arguments) {
    Product p;
    memcpy(&p, arguments, sizeof p);
    bool plain_a = p.ta == PLAIN, plain_b = p.tb == PLAIN;
    size_t a = extent(plain_a ? p.m : p.k, plain_a ? p.k : p.m, p.lda, p.stride_a, p.batch, p.type);
    size_t b = extent(plain_b ? p.k : p.n, plain_b ? p.n : p.k, p.ldb, p.stride_b, p.batch, p.type);
    size_t c = extent(p.m, p.n, p.ldc, p.stride_c, p.batch, p.result);
    if (!rehearsal_range("a product's left factor", p.a, a) || !rehearsal_range("a product's right factor", p.b, b) ||
        !rehearsal_range("a product's result", p.c, c) ||
        !rehearsal_range("cuBLAS's workspace", p.workspace, p.workspace_bytes))
        return;
    // what a product leaves there is nobody's
    if (p.workspace_bytes) memset((void*)p.workspace, 0xee, std::min<size_t>(p.workspace_bytes, 4096));
    if (p.type == F64) multiply<double>(p);
    else multiply<float>(p);
}

int refused(Status status, const char* why) {
    rehearsal_say((std::string("cuBLAS refuses a product: ") + why).c_str());
    return status;
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
    if (!handle) return INVALID_VALUE;
    Lock lock;
    auto* made = new Handle;
    handles.insert(made);
    *handle = made;
    return SUCCESS;
}

int cublasDestroy_v2(void* handle) {
    Lock lock;
    if (!handles.erase((Handle*)handle)) return NOT_INITIALIZED;
    delete (Handle*)handle;
    return SUCCESS;
}

int cublasSetStream_v2(void* handle, void* stream) {
    Lock lock;
    if (!handles.count((Handle*)handle)) return NOT_INITIALIZED;
    if (!rehearsal_stream(stream)) return INVALID_VALUE;
    // and takes the memory away that it was given
    *(Handle*)handle = Handle{stream, 0, 0};
    return SUCCESS;
}

int cublasSetWorkspace_v2(void* handle, void* at, size_t bytes) {
    Lock lock;
    if (!handles.count((Handle*)handle)) return NOT_INITIALIZED;
    if ((uint64_t)at % 256) return INVALID_VALUE;
    ((Handle*)handle)->workspace = (uint64_t)at;
    ((Handle*)handle)->workspace_bytes = bytes;
    return SUCCESS;
}

int cublasSetMathMode(void* handle, int mode) {
    Lock lock;
    if (!handles.count((Handle*)handle)) return NOT_INITIALIZED;
    // default, pedantic, TF32; and 16: sums are not reduced
    return (mode & ~16) <= 3 && (mode & ~16) != 1 ? SUCCESS : INVALID_VALUE;
}

int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                               int a_type, int lda, long long stride_a, const void* b, int b_type, int ldb,
                               long long stride_b, const void* beta, void* c, int c_type, int ldc, long long stride_c,
                               int batch, int compute, int algorithm) {
    Lock lock;
    if (!handles.count((Handle*)handle)) return NOT_INITIALIZED;
    auto* h = (Handle*)handle;
    if ((ta != PLAIN && ta != TRANSPOSED) || (tb != PLAIN && tb != TRANSPOSED))
        return refused(INVALID_VALUE, "an operation that is none");
    if (m < 0 || n < 0 || k < 0 || batch < 0) return refused(INVALID_VALUE, "a negative size");
    if (lda < std::max(1, ta == PLAIN ? m : k)) return refused(INVALID_VALUE, "lda is smaller than a's columns");
    if (ldb < std::max(1, tb == PLAIN ? k : n)) return refused(INVALID_VALUE, "ldb is smaller than b's columns");
    if (ldc < std::max(1, m)) return refused(INVALID_VALUE, "ldc is smaller than c's columns");
    if (!alpha || !beta || !a || !b || !c) return refused(INVALID_VALUE, "a null pointer");
    if (algorithm != -1 && algorithm != 99) return refused(NOT_SUPPORTED, "an algorithm");
    bool known = a_type == b_type;
    if (compute == AS_F32)
        known = known && ((a_type == F32 && c_type == F32) || (a_type == BF16 && (c_type == BF16 || c_type == F32)));
    else if (compute == FAST_TF32) known = known && a_type == F32 && c_type == F32;
    else if (compute == AS_F64) known = known && a_type == F64 && c_type == F64;
    else known = false;
    if (!known) return refused(NOT_SUPPORTED, "types that do not go together");
    if ((uint64_t)a % bytes_of((Type)a_type) || (uint64_t)b % bytes_of((Type)b_type) || (uint64_t)c % bytes_of((Type)c_type))
        return refused(INVALID_VALUE, "an address that its type does not have");
    if (batch > 1 && stride_c < (long long)ldc * (n - 1) + m && stride_c * batch > m)
        return refused(INVALID_VALUE, "the results of a batch overlap");
    if (batch > 1 && stride_c == 0) return refused(INVALID_VALUE, "the results of a batch are one");
    if (m == 0 || n == 0 || batch == 0) return SUCCESS;
    bool doubles = compute == AS_F64;
    Product p = {(Operation)ta, (Operation)tb, m, n, k, 0, 0, (uint64_t)a, (uint64_t)b, (uint64_t)c, (Type)a_type,
                 (Type)c_type, lda, ldb, ldc, stride_a, stride_b, stride_c, batch, compute == FAST_TF32, h->workspace,
                 h->workspace_bytes};
    // factors are read at the call
    p.alpha = doubles ? *(const double*)alpha : *(const float*)alpha;
    p.beta = doubles ? *(const double*)beta : *(const float*)beta;
    char name[128];
    snprintf(name, sizeof name, "%d products of %d x %d and %d x %d", batch, m, k, k, n);
    return rehearsal_queue(h->stream, name, run, &p, sizeof p) ? 13 : SUCCESS;
}

const char* cublasGetStatusString(int) { return "a status of the rehearsed cuBLAS"; }
const char* cublasGetStatusName(int) { return "CUBLAS_STATUS"; }

}  // extern "C"
