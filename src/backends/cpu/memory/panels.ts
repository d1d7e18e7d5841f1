/** Outputs per panel: lanes are outputs, so that a sum never runs across lanes. */
export const PANEL = 16;
/** Inputs per block of quantised weights and activations. */
export const BLOCK = 128;
