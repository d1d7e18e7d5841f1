import { ConfigError } from '../../errors.ts';
import { type MixerSizes, mixerContradiction } from '../../layers/mamba/mamba-mixer2-options.ts';

/** Least value of a size in a config. */
export const SIZE = { min: 1 };

/** A mixer's config, once its sizes were found to fit each other. @throws ConfigError */
export function checkedMixer<M extends MixerSizes & { readonly timeStepLimit?: readonly [number, number] | undefined }>(
  fileName: string,
  mixer: M,
): M {
  const contradiction = mixerContradiction(mixer);
  if (contradiction !== undefined)
    throw new ConfigError(
      `${fileName}: ${contradiction}`,
      'Its heads make the intermediate size, and its groups divide its heads.',
    );
  const { timeStepLimit: [low, high] = [0, Number.POSITIVE_INFINITY] } = mixer;
  if (low >= 0 && low <= high) return mixer;
  throw new ConfigError(`${fileName}: time_step_limit is [${low}, ${high}], expected 0 <= low <= high.`);
}
