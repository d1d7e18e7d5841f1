import { MissingTensorError } from '../errors.ts';

/**
 * Refuses more layers than there are tensors: each layer has at least one.
 * @param stored names of the checkpoint's tensors; none where there is no checkpoint.
 * @throws MissingTensorError
 */
export function assertLayersStored(numHiddenLayers: number, stored: ReadonlySet<string> | undefined): void {
  if (stored === undefined || stored.size === 0 || numHiddenLayers <= stored.size) return;
  throw new MissingTensorError(
    `config.json asks for ${numHiddenLayers} layers, but the weights are ${stored.size} tensors in all.`,
    'config.json and the weights belong to different models, or a shard is missing.',
  );
}
