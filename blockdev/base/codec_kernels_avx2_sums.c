/* codec_kernels_avx2_sums.c: least, most and sum by AVX2 (codec_kernels.h: struct codec_summary says in which order floats are added). What is left at the end goes into the lanes where its place is. */
#if defined(__x86_64__)

#include "blockdev/base/codec_kernels_avx2.h"

AVX2_TARGET void codec_avx2_sum_i32(const void *values, size_t count, struct codec_summary *out)
{
    const uint8_t *at = values;
    __m256i least = _mm256_set1_epi32(INT32_MAX), most = _mm256_set1_epi32(INT32_MIN), sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i value = load_256(at + 4 * i);
        least = _mm256_min_epi32(least, value);
        most = _mm256_max_epi32(most, value);
        sum = _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(value)), _mm256_cvtepi32_epi64(_mm256_extracti128_si256(value, 1))));
    }
    int32_t leasts[8], mosts[8], least_all = INT32_MAX, most_all = INT32_MIN;
    uint64_t sums[4];
    store_256(leasts, least);
    store_256(mosts, most);
    store_256(sums, sum);
    uint64_t total = sums[0] + sums[1] + sums[2] + sums[3];
    for (; i < count; i++) {
        int32_t value = (int32_t)load_u32(at + 4 * i);
        leasts[0] = value < leasts[0] ? value : leasts[0];
        mosts[0] = value > mosts[0] ? value : mosts[0];
        total += (uint64_t)value;
    }
    for (int lane = 0; lane < 8; lane++) {
        least_all = leasts[lane] < least_all ? leasts[lane] : least_all;
        most_all = mosts[lane] > most_all ? mosts[lane] : most_all;
    }
    out->least_i64 = count ? least_all : INT64_MAX;
    out->most_i64 = count ? most_all : INT64_MIN;
    out->sum_low = (int64_t)total;
    out->sum_high = 0;
}

AVX2_TARGET void codec_avx2_sum_i64(const void *values, size_t count, struct codec_summary *out)
{
    const uint8_t *at = values;
    const __m256i sign = _mm256_set1_epi64x(INT64_MIN), half = _mm256_set1_epi64x(UINT32_MAX);
    __m256i least[2], most[2], low = _mm256_setzero_si256(), high = low;
    size_t i = 0;
    least[0] = least[1] = _mm256_set1_epi64x(INT64_MAX);
    most[0] = most[1] = sign;
    for (; i + 8 <= count; i += 8) {
        __m256i a = load_256(at + 8 * i), b = load_256(at + 8 * i + 32);
        least[0] = least_i64(least[0], a);
        least[1] = least_i64(least[1], b);
        most[0] = most_i64(most[0], a);
        most[1] = most_i64(most[1], b);
        low = _mm256_add_epi64(low, _mm256_add_epi64(_mm256_and_si256(a, half), _mm256_and_si256(b, half)));
        high = _mm256_add_epi64(high, _mm256_add_epi64(_mm256_srli_epi64(_mm256_xor_si256(a, sign), 32), _mm256_srli_epi64(_mm256_xor_si256(b, sign), 32)));
    }
    int64_t lanes[4][4];
    store_256(lanes[0], least_i64(least[0], least[1]));
    store_256(lanes[1], most_i64(most[0], most[1]));
    store_256(lanes[2], low);
    store_256(lanes[3], high);
    int64_t least_all = INT64_MAX, most_all = INT64_MIN, sum_low = 0, sum_high = -((int64_t)i << 31); /* the sign bit was flipped: 2^31 too many each */
    for (int lane = 0; lane < 4; lane++) {
        least_all = lanes[0][lane] < least_all ? lanes[0][lane] : least_all;
        most_all = lanes[1][lane] > most_all ? lanes[1][lane] : most_all;
        sum_low += lanes[2][lane];
        sum_high += lanes[3][lane];
    }
    for (; i < count; i++) {
        int64_t value = (int64_t)load_u64(at + 8 * i);
        least_all = value < least_all ? value : least_all;
        most_all = value > most_all ? value : most_all;
        sum_low += (int64_t)(value & UINT32_MAX);
        sum_high += value >> 32;
    }
    out->least_i64 = least_all;
    out->most_i64 = most_all;
    out->sum_low = sum_low;
    out->sum_high = sum_high;
}

AVX2_TARGET void codec_avx2_sum_f32(const void *values, size_t count, struct codec_summary *out)
{
    const uint8_t *at = values;
    __m256 least = _mm256_set1_ps(__builtin_inff()), most = _mm256_set1_ps(-__builtin_inff());
    __m256d low = _mm256_setzero_pd(), high = low;
    __m256i numbers = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 value = _mm256_loadu_ps((const float *)(const void *)(at + 4 * i)), number = _mm256_cmp_ps(value, value, _CMP_ORD_Q);
        least = _mm256_min_ps(value, least); /* the second operand where the first is NaN */
        most = _mm256_max_ps(value, most);
        numbers = _mm256_sub_epi32(numbers, _mm256_castps_si256(number));
        value = _mm256_and_ps(value, number);
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(value)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(value, 1)));
    }
    float leasts[8], mosts[8];
    double sums[8];
    uint32_t numbers_in[8];
    _mm256_storeu_ps(leasts, least);
    _mm256_storeu_ps(mosts, most);
    _mm256_storeu_pd(sums, low);
    _mm256_storeu_pd(sums + 4, high);
    store_256(numbers_in, numbers);
    uint64_t nan_count = i;
    for (int lane = 0; lane < 8; lane++)
        nan_count -= numbers_in[lane];
    for (; i < count; i++) {
        float value = float_of_bits(load_u32(at + 4 * i));
        bool is_number = value == value;
        nan_count += !is_number;
        leasts[0] = value < leasts[0] ? value : leasts[0];
        mosts[0] = value > mosts[0] ? value : mosts[0];
        sums[i % 8] += is_number ? (double)value : 0.0;
    }
    for (int lane = 1; lane < 8; lane++) {
        leasts[0] = leasts[lane] < leasts[0] ? leasts[lane] : leasts[0];
        mosts[0] = mosts[lane] > mosts[0] ? mosts[lane] : mosts[0];
    }
    out->least_f64 = (double)leasts[0] + 0.0;
    out->most_f64 = (double)mosts[0] + 0.0;
    out->sum_f64 = codec_combine_sums(sums);
    out->nan_count = nan_count;
}

AVX2_TARGET void codec_avx2_sum_f64(const void *values, size_t count, struct codec_summary *out)
{
    const uint8_t *at = values;
    __m256d least = _mm256_set1_pd(__builtin_inf()), most = _mm256_set1_pd(-__builtin_inf()), low = _mm256_setzero_pd(), high = low;
    __m256i numbers = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256d a = _mm256_loadu_pd((const double *)(const void *)(at + 8 * i)), b = _mm256_loadu_pd((const double *)(const void *)(at + 8 * i + 32));
        __m256d a_number = _mm256_cmp_pd(a, a, _CMP_ORD_Q), b_number = _mm256_cmp_pd(b, b, _CMP_ORD_Q);
        least = _mm256_min_pd(b, _mm256_min_pd(a, least));
        most = _mm256_max_pd(b, _mm256_max_pd(a, most));
        numbers = _mm256_sub_epi64(numbers, _mm256_add_epi64(_mm256_castpd_si256(a_number), _mm256_castpd_si256(b_number)));
        low = _mm256_add_pd(low, _mm256_and_pd(a, a_number));
        high = _mm256_add_pd(high, _mm256_and_pd(b, b_number));
    }
    double leasts[4], mosts[4], sums[8];
    uint64_t numbers_in[4];
    _mm256_storeu_pd(leasts, least);
    _mm256_storeu_pd(mosts, most);
    _mm256_storeu_pd(sums, low);
    _mm256_storeu_pd(sums + 4, high);
    store_256(numbers_in, numbers);
    uint64_t nan_count = i - (numbers_in[0] + numbers_in[1] + numbers_in[2] + numbers_in[3]);
    for (; i < count; i++) {
        double value = double_of_bits(load_u64(at + 8 * i));
        bool is_number = value == value;
        nan_count += !is_number;
        leasts[0] = value < leasts[0] ? value : leasts[0];
        mosts[0] = value > mosts[0] ? value : mosts[0];
        sums[i % 8] += is_number ? value : 0.0;
    }
    for (int lane = 1; lane < 4; lane++) {
        leasts[0] = leasts[lane] < leasts[0] ? leasts[lane] : leasts[0];
        mosts[0] = mosts[lane] > mosts[0] ? mosts[lane] : mosts[0];
    }
    out->least_f64 = leasts[0] + 0.0;
    out->most_f64 = mosts[0] + 0.0;
    out->sum_f64 = codec_combine_sums(sums);
    out->nan_count = nan_count;
}

#else
typedef int codec_kernels_avx2_sums_not_built; /* ISO C wants a declaration in each file. */
#endif
