import { ModelMismatchError } from '../../errors.ts';
import { defineModel } from '../../models/registry.ts';
import type { ProcessStart } from '../ranks/process-ranks.ts';
import type { CheckpointSource } from '../ranks/rank-protocol.ts';
import { checkLoadOptions, type LoadOptions } from './load-options.ts';
import { locateModel } from './locate-model.ts';
import { identifyModel, type ModelIdentity } from './model-identity.ts';

/**
 * What ranks of this process start with, where another process has chosen the model: its files as they lie on this machine.
 * @param identity of the model that the other process loads.
 * @throws ModelMismatchError where the files are of another model, and the errors of locating one.
 */
export async function modelOnThisHost(
  start: ProcessStart,
  identity: unknown,
  model: string,
  options: LoadOptions,
): Promise<ProcessStart> {
  // Files at a URL are read by the other process, for all.
  if ('files' in (start.source as CheckpointSource)) return start;
  const { checkpoint } = await locateModel(model, checkLoadOptions(options));
  try {
    const expected = identity as ModelIdentity;
    const { config } = defineModel(checkpoint.config, checkpoint.names(), start.options);
    const found = await identifyModel(checkpoint, config, expected);
    const different = (['architecture', 'configHash', 'weightsHash'] as const).find((f) => found[f] !== expected[f]);
    if (different) {
      throw new ModelMismatchError(
        `'${checkpoint.folder}' is not the model that process 0 loads: its ${DIFFERENCES[different]}.`,
        'Put the same files on all hosts.',
      );
    }
    const source: CheckpointSource = { folder: checkpoint.folder };
    return { ...start, source };
  } finally {
    await checkpoint.close();
  }
}

const DIFFERENCES = {
  architecture: 'architecture is another',
  configHash: 'config has other sizes or options',
  weightsHash: 'weights are not the same',
} as const;
