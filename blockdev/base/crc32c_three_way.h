/* crc32c_three_way.h: the loop that the two hardware implementations share; included once by each, after it defined
 *   CRC_TARGET                  the function attributes that allow the instructions
 *   step_8(state, word)         the register after 8 bytes
 *   step_1(state, byte)         the register after 1 byte
 *   multiply(state, factor)     the carry-less product of two 32-bit polynomials
 *
 * One CRC instruction takes 3 cycles but one can begin each cycle, hence three registers over three neighbouring stretches; the first two
 * are then moved over what follows them (crc32c_table.h) and added. 3 x 1360 bytes is a page but for its checksum. */
#ifndef CRC_TARGET
#error "crc32c_three_way.h is included by crc32c_x86.c and crc32c_arm.c only"
#endif

CRC_TARGET static inline uint32_t move_register(uint32_t state, uint32_t factor) { return step_8(0, multiply(state, factor)); }

/* One group of three stretches. copy is a constant at each call, so that the compiler drops the stores where nothing is copied. */
CRC_TARGET static inline __attribute__((always_inline)) uint32_t update_group(uint32_t state, uint8_t *target, const uint8_t *source,
                                                                              size_t stretch_bytes, uint32_t fold_2, uint32_t fold_1,
                                                                              bool copy)
{
    uint32_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < stretch_bytes; i += 8) {
        uint64_t word_a = load_u64(source + i), word_b = load_u64(source + stretch_bytes + i),
                 word_c = load_u64(source + 2 * stretch_bytes + i);
        a = step_8(a, word_a);
        b = step_8(b, word_b);
        c = step_8(c, word_c);
        if (copy) {
            store_u64(target + i, word_a);
            store_u64(target + stretch_bytes + i, word_b);
            store_u64(target + 2 * stretch_bytes + i, word_c);
        }
    }
    return move_register(a, fold_2) ^ move_register(b, fold_1) ^ c;
}

CRC_TARGET static inline __attribute__((always_inline)) uint32_t update_all(uint32_t state, uint8_t *target, const uint8_t *source,
                                                                            size_t size_bytes, bool copy)
{
    size_t at = 0;
    for (; size_bytes - at >= 3 * 1360; at += 3 * 1360)
        state = update_group(state, copy ? target + at : NULL, source + at, 1360, CRC32C_FOLD_2720, CRC32C_FOLD_1360, copy);
    for (; size_bytes - at >= 3 * 336; at += 3 * 336)
        state = update_group(state, copy ? target + at : NULL, source + at, 336, CRC32C_FOLD_672, CRC32C_FOLD_336, copy);
    for (; size_bytes - at >= 8; at += 8) {
        uint64_t word = load_u64(source + at);
        state = step_8(state, word);
        if (copy)
            store_u64(target + at, word);
    }
    for (; at < size_bytes; at++) {
        uint8_t byte = source[at];
        state = step_1(state, byte);
        if (copy)
            target[at] = byte;
    }
    return state;
}
