import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { isSameVersion, isTelling } from '../../checkpoint/net/file-version.ts';
import { ModelChangedError, ModelMismatchError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { defineModel } from '../../models/registry.ts';
import type { Reopen } from './locate-model.ts';
import { assertSameModel, formOf, identifyModel, type LoadedForm, type ModelIdentity } from './model-identity.ts';

/** Form in which a model was loaded. */
export interface LoadedAs extends LoadedForm {
  readonly config: ModelConfig;
  /** Whether the head is a separate tensor, although config.json ties it. */
  readonly untieHead: boolean;
  /** Whether its own layers for multi-token prediction were loaded. */
  readonly mtp: boolean;
}

/** Identity of a loaded model, whose files may have been replaced since. */
export interface LoadedIdentity {
  /** Rejects with ModelChangedError where it was not read before the files were replaced. */
  readonly identify: () => Promise<ModelIdentity>;
  /** Rejects with ModelChangedError where files that were opened again are not those that were loaded. */
  readonly assertSame: (again: Checkpoint) => Promise<void>;
}

/**
 * Identifies a model that was loaded from an open checkpoint. That reads some rows: immediately from a disk, but from a
 * server only when the identity is needed, because each row is a request. Then the versions of the server's files show
 * whether they are still the same.
 */
export async function identifyLoaded(
  checkpoint: Checkpoint,
  { config, untieHead, mtp, ...loaded }: LoadedAs,
  reopen: Reopen,
): Promise<LoadedIdentity> {
  const { versions } = checkpoint;
  const form = formOf(loaded);
  if (versions.length === 0 || !versions.every(isTelling)) {
    const identity = await identifyModel(checkpoint, config, form);
    const assertSame = async (again: Checkpoint) => {
      const found = await identifyModel(
        again,
        defineModel(again.config, again.names(), { untieHead, mtp }).config,
        form,
      );
      try {
        assertSameModel(found, identity);
      } catch (cause) {
        if (!(cause instanceof ModelMismatchError)) throw cause;
        throw changed(again.folder, cause);
      }
    };
    return { identify: async () => identity, assertSame };
  }
  const assertSame = async ({ folder, versions: found }: Checkpoint) => {
    const isSame = found.length === versions.length && found.every((version, i) => isSameVersion(version, versions[i]));
    if (!isSame) throw changed(folder);
  };
  const identify = () =>
    reopen(async (again) => {
      await assertSame(again);
      return identifyModel(again, config, form);
    });
  return { identify, assertSame };
}

function changed(folder: string, cause?: unknown): ModelChangedError {
  const problem = `The files of '${folder}' were replaced since the model was loaded.`;
  return new ModelChangedError(problem, 'Load the model anew, or put the files back.', { cause });
}
