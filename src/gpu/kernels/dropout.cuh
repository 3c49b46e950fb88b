// Dropout with the masks of `tensor/dropout.rs`: words of Philox4x32-10 below a limit drop a number.
#pragma once
#include "common.cuh"

// Ten rounds of Philox4x32 on a counter.
DEVICE void philox(unsigned (&c)[4], unsigned low, unsigned high) {
    for (int round = 0; round < 10; round++) {
        unsigned a = c[0], b = c[2];
        c[0] = __umulhi(0xcd9e8d57u, b) ^ c[1] ^ low;
        c[2] = __umulhi(0xd2511f53u, a) ^ c[3] ^ high;
        c[1] = 0xcd9e8d57u * b;
        c[3] = 0xd2511f53u * a;
        low += 0x9e3779b9u;
        high += 0xbb67ae85u;
    }
}

// y = factor x, or 0 where dropped, of n numbers. `keys` has two words for each member. Sixteen counters decide on 64
// numbers: word w of counter c on number 16 w + c; a thread takes a counter.
template <class S> struct dropout {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 n;
    const unsigned* keys;
    i64 limit;
    double factor;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        unsigned low = keys[2 * blockIdx.y], high = keys[2 * blockIdx.y + 1], limit = (unsigned)this->limit;
        A factor = A(this->factor);
        i64 counters = (n + 63) / 64 * 16;
        for (i64 counter = first_index(); counter < counters; counter += index_step()) {
            unsigned words[4] = {(unsigned)counter, (unsigned)(counter >> 32), 0, 0};
            philox(words, low, high);
            i64 first = counter / 16 * 64 + counter % 16;
            for (int word = 0; word < 4; word++) {
                i64 i = first + 16 * word;
                if (i < n) y[i] = S(words[word] < limit ? A(0) : factor * A(x[i]));
            }
        }
    }
};
EXPORT(dropout)
