/** Longest time that a timer can wait, in milliseconds: a longer one fires immediately. */
export const MAX_DELAY = 2 ** 31 - 1;
