import { UnsupportedArchitectureError } from '../../errors.ts';
import type { StoredTokenizer } from '../files/model-files.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import type { JsonObject } from '../json/json.ts';
import { falconH1 } from './architectures/falcon-h1.ts';
import { type GgufArchitecture, GgufModel } from './architectures/gguf-model.ts';
import { graniteHybrid } from './architectures/granite-hybrid.ts';
import { mamba2 } from './architectures/mamba2.ts';
import { nemotronH, nemotronHMoe } from './architectures/nemotron-h.ts';
import { generationConfig } from './generation-config.ts';
import type { Gguf } from './gguf.ts';
import { namedTokenIds } from './tokenizer/named-tokens.ts';
import { storedTokenizer, tokenizerFiles } from './tokenizer/tokenizer-files.ts';

const ARCHITECTURES: readonly GgufArchitecture[] = [mamba2, graniteHybrid, falconH1, nemotronH, nemotronHMoe];

/** A model in GGUF as Hugging Face would lay it out. */
export interface GgufCheckpoint {
  readonly config: JsonObject;
  readonly generationConfig: JsonObject;
  /** The other files by name, each made when it is first asked for: those of a large vocabulary have megabytes. */
  readonly texts: ReadonlyMap<string, () => string>;
  /** @throws TokenizerError, GgufError */
  readonly tokenizer: () => StoredTokenizer | undefined;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/**
 * What a GGUF holds, under the names of Hugging Face: configs, tokenizer and chat templates, tensors.
 * @throws UnsupportedArchitectureError, GgufError, ConfigError, MissingTensorError, UnexpectedTensorError,
 * WeightShapeError. What is wrong with the tokenizer is thrown when its file is made.
 */
export function describeGguf(gguf: Gguf): GgufCheckpoint {
  const name = gguf.metadata.string('general.architecture');
  const architecture = ARCHITECTURES.find((each) => each.name === name);
  if (architecture === undefined) {
    throw new UnsupportedArchitectureError(
      `${gguf.name}: the architecture is '${name}', which is not supported.`,
      `Supported in GGUF: ${ARCHITECTURES.map((each) => each.name).join(', ')}.`,
    );
  }
  const model = new GgufModel(gguf, name);
  const config = architecture.describe(model);
  const tokens = namedTokenIds(gguf.metadata);
  return {
    config: {
      ...config,
      ...(tokens.bos === undefined ? {} : { bos_token_id: tokens.bos }),
      ...(tokens.eos === undefined ? {} : { eos_token_id: tokens.eos }),
    },
    generationConfig: generationConfig(gguf.metadata),
    texts: tokenizerFiles(gguf.metadata),
    tokenizer: () => storedTokenizer(gguf.metadata),
    tensors: model.tensors(),
  };
}
