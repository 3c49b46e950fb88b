// Adafactor, over all parameters and members: means of squares, sums, then the step.
//
// The first state of a matrix are its rows' means and the second its columns'; a vector has its variance as the first
// and no second. Scalars: weight of new squares, least variance, least mean of the rows, least root mean square of a
// parameter, largest one of a normalised gradient, what is kept of the weight, learning rate.
#pragma once
#include "update.cuh"

// A parameter of a member.
template <class A> struct Factored {
    const A* g;
    A* rows;
    A* columns;
    i64 size, wide, tall;
    const double* scalars;
    A factor, limit;

    DEVICE double square(i64 i) const {
        A g = this->g[i] * factor;
        // NaN stays
        g = g > limit ? limit : g;
        g = g < -limit ? -limit : g;
        return (double)g * (double)g;
    }
};

template <class A>
DEVICE Factored<A> factored_of(const i64* tensors, const double* scalars, const double* clip, double limit,
                               i64 members, i64 tensor, i64 member) {
    const i64* row = tensors + ROW * tensor;
    Factored<A> f;
    f.size = row[4];
    f.wide = row[5];
    f.tall = f.size / f.wide;
    f.g = (const A*)row[1] + member * f.size;
    f.columns = row[3] ? (A*)row[3] + member * f.wide : (A*)0;
    f.rows = row[3] ? (A*)row[2] + member * f.tall : (A*)0;
    f.scalars = scalars + SCALARS * (tensor * members + member);
    f.factor = clip ? A(clip[member]) : A(1);
    f.limit = A(limit);
    return f;
}

// Means over the columns of a matrix, one for each row. A block takes 8 rows, a warp each.
template <class A> struct adafactor_rows {
    UPDATE_FIELDS
    DEVICE void run() const {
        const i64* part = chunks + 3 * (i64)blockIdx.x;
        if (!active[part[1]]) return;
        Factored<A> f = factored_of<A>(tensors, scalars, clip, limit, members, part[0], part[1]);
        int lane = threadIdx.x % WARP;
        i64 row = part[2] + threadIdx.x / WARP;
        if (row >= f.tall) return;
        double sum = 0;
        for (i64 j = lane; j < f.wide; j += WARP) sum += f.square(row * f.wide + j);
        sum = warp_sum(sum);
        if (lane == 0) {
            double mean = sum / (double)f.wide, old = (double)f.rows[row];
            f.rows[row] = A(old + f.scalars[0] * (mean - old));
        }
    }
};
EXPORT_ARITH_BLOCK(adafactor_rows)

// Means over the rows, one for each column. A block takes 32 columns; its warps take every eighth row.
template <class A> struct adafactor_columns {
    UPDATE_FIELDS
    DEVICE void run() const {
        SHARED(double, parts, 256);
        const i64* part = chunks + 3 * (i64)blockIdx.x;
        if (!active[part[1]]) return;
        Factored<A> f = factored_of<A>(tensors, scalars, clip, limit, members, part[0], part[1]);
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
        i64 column = part[2] + lane;
        double sum = 0;
        if (column < f.wide)
            for (i64 i = warp; i < f.tall; i += warps) sum += f.square(i * f.wide + column);
        parts[threadIdx.x] = sum;
        __syncthreads();
        if (warp == 0 && column < f.wide) {
            for (int i = 1; i < warps; i++) sum += parts[i * WARP + lane];
            double mean = sum / (double)f.tall, old = (double)f.columns[column];
            f.columns[column] = A(old + f.scalars[0] * (mean - old));
        }
    }
};
EXPORT_ARITH_BLOCK(adafactor_columns)

// means [tensors, members]: the mean of the rows' means. A block takes a matrix of a member.
template <class A> struct adafactor_means {
    UPDATE_FIELDS
    double* means;
    DEVICE void run() const {
        i64 tensor = blockIdx.x, member = blockIdx.y;
        Factored<A> f = factored_of<A>(tensors, scalars, clip, limit, members, tensor, member);
        if (!active[member] || !f.rows) return;
        double sum = 0;
        for (i64 i = threadIdx.x; i < f.tall; i += blockDim.x) sum += (double)f.rows[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) means[tensor * members + member] = fmax(sum / (double)f.tall, f.scalars[2]);
    }
};
EXPORT_ARITH_BLOCK(adafactor_means)

// The gradients of a block over the root of their variances.
template <class A> struct Normalised {
    Part<A> at;
    const A* rows;
    const A* columns;
    i64 wide;
    double mean, least;

    DEVICE A of(int i) const {
        i64 place = at.start + i;
        double variance = columns ? (double)rows[place / wide] * (double)columns[place % wide] / mean
                                  : (double)at.first[i];
        return A((double)at.gradient(i) / sqrt(fmax(variance, least)));
    }
};

template <class A>
DEVICE Normalised<A> normalised_of(const Part<A>& at, const i64* tensors, const double* means, i64 members) {
    const i64* row = tensors + ROW * at.tensor;
    Normalised<A> u;
    u.at = at;
    u.wide = row[5];
    u.columns = row[3] ? (const A*)row[3] + at.member * u.wide : (const A*)0;
    u.rows = row[3] ? (const A*)row[2] + at.member * (at.size / u.wide) : (const A*)0;
    u.mean = means[at.tensor * members + at.member];
    u.least = at.scalars[1];
    return u;
}

// sums [blocks, 2]: of the squares of a block's parameters and of its normalised gradients. Variances of vectors take
// their gradients first.
template <class A> struct adafactor_sums {
    UPDATE_FIELDS
    const double* means;
    double* sums;
    DEVICE void run() const {
        UPDATE_PART
        Normalised<A> u = normalised_of<A>(at, tensors, means, members);
        double of_param = 0, of_update = 0;
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            if (!u.columns) {
                double g = (double)at.gradient(i), old = (double)at.first[i];
                at.first[i] = A(old + at.scalars[0] * (g * g - old));
            }
            double p = (double)at.p[i], d = (double)u.of(i);
            of_param += p * p;
            of_update += d * d;
        }
        of_param = block_sum(of_param);
        of_update = block_sum(of_update);
        if (threadIdx.x == 0) {
            sums[2 * blockIdx.x] = of_param;
            sums[2 * blockIdx.x + 1] = of_update;
        }
    }
};
EXPORT_ARITH_BLOCK(adafactor_sums)

// rates [tensors, members]: what a normalised gradient is multiplied by. A block takes a parameter of a member.
template <class A> struct adafactor_rates {
    UPDATE_FIELDS
    const double* sums;
    double* rates;
    DEVICE void run() const {
        i64 tensor = blockIdx.x, member = blockIdx.y;
        if (!active[member]) return;
        const i64* row = tensors + ROW * tensor;
        const double* scalars = this->scalars + SCALARS * (tensor * members + member);
        i64 size = row[4], each = (size + UPDATE_CHUNK - 1) / UPDATE_CHUNK;
        const double* own = sums + 2 * (row[6] + member * each);
        double of_param = 0, of_update = 0;
        for (i64 i = threadIdx.x; i < each; i += blockDim.x) {
            of_param += own[2 * i];
            of_update += own[2 * i + 1];
        }
        of_param = block_sum(of_param);
        of_update = block_sum(of_update);
        if (threadIdx.x == 0) {
            double rms = fmax(sqrt(of_param / (double)size), scalars[3]);
            double excess = sqrt(of_update / (double)size) / scalars[4];
            rates[tensor * members + member] = -scalars[6] * rms / fmax(excess, 1.0);
        }
    }
};
EXPORT_ARITH_BLOCK(adafactor_rates)

template <class A> struct adafactor_step {
    UPDATE_FIELDS
    const double* means;
    const double* rates;
    DEVICE void run() const {
        UPDATE_PART
        Normalised<A> u = normalised_of<A>(at, tensors, means, members);
        A keep = A(at.scalars[5]), rate = A(rates[at.tensor * members + at.member]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) at.p[i] = fma(keep, at.p[i], rate * u.of(i));
    }
};
EXPORT_ARITH(adafactor_step)
