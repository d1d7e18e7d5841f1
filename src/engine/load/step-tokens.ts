/** Tokens that keep most devices busy. */
const TOKENS = 512;
/** A large GPU runs prompts a quarter faster in steps of so many, which take some gigabytes: as an estimate 20 for 2.7 B. */
const LARGE_GPU_TOKENS = 2048;
const LARGE_GPU_BYTES = 40e9;

/**
 * Tokens processed in one step where nothing else was asked for. More would make the answers under way wait longer for their
 * next tokens while a prompt is processed.
 */
export async function defaultStepTokens(device: string): Promise<number> {
  if (device !== 'cuda') return TOKENS;
  const { describeAllCuda } = await import('../../backends/cuda/device/cuda-info.ts');
  const gpus = await describeAllCuda();
  return gpus.every(({ memory }) => memory >= LARGE_GPU_BYTES) ? LARGE_GPU_TOKENS : TOKENS;
}
