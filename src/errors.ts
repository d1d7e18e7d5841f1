/**
 * One class per kind of failure. A message says what was found and what was expected; `hint` says what to do about it.
 *
 * `name` is set per class so that logs stay readable after minification, and `code` is stable for programs.
 *
 * @example
 * ```ts
 * try {
 *   await LLM.load('no-such-model');
 * } catch (error) {
 *   if (!(error instanceof Mamba2Error)) throw error;
 *   console.error(error.code, error.hint); // 'model_not_found', and what to do
 * }
 * ```
 */
export abstract class Mamba2Error extends Error {
  abstract readonly code: string;
  /** The message without its hint. */
  readonly problem: string;
  readonly hint: string;

  constructor(problem: string, hint = '', options?: { cause?: unknown }) {
    super(hint ? `${problem} ${hint}` : problem, options);
    this.name = new.target.name;
    this.problem = problem;
    this.hint = hint;
  }
}

// --- Where a model comes from -------------------------------------------------------------------------------------

/** No local folder, bundled model or hub repository has this name. */
export class ModelNotFoundError extends Mamba2Error {
  readonly code = 'model_not_found';
}

/** The hub can't be reached, or may not be (HF_HUB_OFFLINE, localFilesOnly), and the cache lacks the file. */
export class OfflineError extends Mamba2Error {
  readonly code = 'offline';
}

/** The hub answered, but a file could not be fetched whole. What was received is kept for the next try. */
export class DownloadError extends Mamba2Error {
  readonly code = 'download_failed';
}

/** A file was replaced on its server while it was fetched: one load must not mix two models. Load again. */
export class ModelChangedError extends Mamba2Error {
  readonly code = 'model_changed';
}

/** A browser stores less for this origin than the model needs. Nothing is fetched where that shows before. */
export class StorageQuotaError extends Mamba2Error {
  readonly code = 'storage_quota';
}

// --- What a checkpoint says ---------------------------------------------------------------------------------------

/** A JSON file of the checkpoint (config, index, tokenizer) can't be parsed or has the wrong form. */
export class JsonFileError extends Mamba2Error {
  readonly code = 'bad_json_file';
}

/**
 * A value in a config file is missing, of the wrong type, out of its range, or contradicts another; or it says that the
 * weights are quantised in a way that is not read.
 */
export class ConfigError extends Mamba2Error {
  readonly code = 'bad_config';
}

/** config.json names an architecture that this library does not run. */
export class UnsupportedArchitectureError extends Mamba2Error {
  readonly code = 'unsupported_architecture';
}

/** A safetensors file is truncated, oversized, overlapping or otherwise malformed. */
export class SafetensorsError extends Mamba2Error {
  readonly code = 'bad_safetensors';
}

/** A GGUF file is truncated, malformed or big-endian, lacks metadata that are needed, or parts of it are missing. */
export class GgufError extends Mamba2Error {
  readonly code = 'bad_gguf';
}

/** The model needs a tensor that no file of the checkpoint holds. */
export class MissingTensorError extends Mamba2Error {
  readonly code = 'missing_tensor';
}

/** The checkpoint holds a tensor that no part of the model takes. */
export class UnexpectedTensorError extends Mamba2Error {
  readonly code = 'unexpected_tensor';
}

/** A weight has another shape than the config implies. */
export class WeightShapeError extends Mamba2Error {
  readonly code = 'weight_shape';
}

/** A weight is stored in a dtype that can't be read as floating point. */
export class WeightDTypeError extends Mamba2Error {
  readonly code = 'weight_dtype';
}

/** A weight holds NaN or an infinity (checked on request only). */
export class NonFiniteWeightError extends Mamba2Error {
  readonly code = 'non_finite_weight';
}

/** The tokenizer is missing, malformed, or larger than the model's vocabulary. */
export class TokenizerError extends Mamba2Error {
  readonly code = 'tokenizer';
}

/** The chat template is missing or fails on these messages. */
export class ChatTemplateError extends Mamba2Error {
  readonly code = 'chat_template';
}

/**
 * A text took longer, or more memory, to become tokens than it may: it is very long, or the model's chat template or a
 * regular expression of its tokenizer does not come to an end with it.
 */
export class TextLimitError extends Mamba2Error {
  readonly code = 'text_limit';
}

// --- What a caller asks for ---------------------------------------------------------------------------------------

/** This device is unknown or not available here. */
export class UnsupportedDeviceError extends Mamba2Error {
  readonly code = 'unsupported_device';
}

/** This weight dtype is unknown. */
export class UnsupportedDTypeError extends Mamba2Error {
  readonly code = 'unsupported_dtype';
}

/** The number of ranks does not fit the model, or can't run here. */
export class ShardingError extends Mamba2Error {
  readonly code = 'sharding';
}

/** A prompt with no tokens. */
export class EmptyPromptError extends Mamba2Error {
  readonly code = 'empty_prompt';
}

/** A token id outside the vocabulary. */
export class TokenIdError extends Mamba2Error {
  readonly code = 'token_id';
}

/** A sampling parameter is out of range. */
export class SamplingParamsError extends Mamba2Error {
  readonly code = 'sampling_params';
  /** Name of the parameter in the options; undefined where the error came from another thread. */
  readonly param: string | undefined;

  /** @param problem begins with the parameter's name where `param` is given. */
  constructor(problem: string, hint = '', options?: { cause?: unknown; param?: string }) {
    super(problem, hint, options);
    this.param = options?.param;
  }

  /** The message with another name for the parameter: programs of other languages, and flags, spell it otherwise. */
  messageFor(name: string): string {
    return this.param === undefined ? this.message : `${name}${this.message.slice(this.param.length)}`;
  }
}

/**
 * An answer can't have the form that `structuredOutputs` asks for: its schema or grammar is malformed, unsupported or
 * too large, or no token of the model continues it.
 */
export class StructuredOutputsError extends Mamba2Error {
  readonly code = 'structured_outputs';
}

/** A function of `logitsProcessors` threw, or left no token to choose. `cause` is what it threw. */
export class LogitsProcessorError extends Mamba2Error {
  readonly code = 'logits_processor';
}

/** An optional package is needed for this, and is not installed. */
export class MissingPackageError extends Mamba2Error {
  readonly code = 'missing_package';
}

/** The model's logits are NaN, so no token can be chosen. */
export class NonFiniteLogitsError extends Mamba2Error {
  readonly code = 'non_finite_logits';
}

/** A prompt is longer than the engine takes, or than its key-value cache could ever hold. */
export class ContextLengthError extends Mamba2Error {
  readonly code = 'context_length';
}

/** The engine has as many waiting requests as it may have. The request was not accepted; try again later. */
export class QueueFullError extends Mamba2Error {
  readonly code = 'queue_full';
}

/** The engine is shutting down: it takes no new requests, and this one could not be finished. */
export class ShutdownError extends Mamba2Error {
  readonly code = 'shutdown';
}

/** A session's file is truncated, malformed, or of an unknown version. */
export class SessionFileError extends Mamba2Error {
  readonly code = 'bad_session_file';
}

/** A session's state belongs to another model, or to the same model with weights of another dtype. */
export class ModelMismatchError extends Mamba2Error {
  readonly code = 'model_mismatch';
}

/** A server can't have the address that it is to listen at: the port is taken, or the host is none of this machine's. */
export class ListenError extends Mamba2Error {
  readonly code = 'listen';
}

/** The object was disposed of and can't be used any more. */
export class DisposedError extends Mamba2Error {
  readonly code = 'disposed';
}

// --- What layers and operations were given ------------------------------------------------------------------------

/** A tensor has another shape than an operation's contract asks for. */
export class ShapeError extends Mamba2Error {
  readonly code = 'shape';
}

/** An argument of an operation or layer is outside its contract. */
export class ArgumentError extends Mamba2Error {
  readonly code = 'argument';
}

/** Two layers were given the same prefix. */
export class DuplicateLayerError extends Mamba2Error {
  readonly code = 'duplicate_layer';
}

/** The batch's metadata contradicts itself or the tensors it comes with. */
export class MetadataError extends Mamba2Error {
  readonly code = 'metadata';
}

/** The engine's records contradict each other: a slot has two owners, or none. This is a defect of this library. */
export class IntegrityError extends Mamba2Error {
  readonly code = 'integrity';
}

/** The model failed and could not be loaded again, in several tries. The engine takes no requests any more. */
export class EngineDeadError extends Mamba2Error {
  readonly code = 'engine_dead';
}

/** A rank of the process group failed; the others were released. */
export class RankFailedError extends Mamba2Error {
  readonly code = 'rank_failed';
}

/** MPI can't be used: there is no library, it does not belong to the launcher, or a call of it failed. */
export class MpiError extends Mamba2Error {
  readonly code = 'mpi';
}

/**
 * A shared store of states did not answer, or returned what it was not given. It is told to listeners of the engine, and
 * fails no request: states that do not come are computed.
 */
export class StateStoreError extends Mamba2Error {
  readonly code = 'state_store';
}

/**
 * A rank found no memory for a step, or for a copy of a state. Its states are lost, but it continues: the engine
 * computes them again in smaller steps, or with a smaller prefix cache.
 */
export class OutOfMemoryError extends Mamba2Error {
  readonly code = 'out_of_memory';
}

// --- The GPU ------------------------------------------------------------------------------------------------------

/** The GPU refused a command or a shader. A defect of this library, or of a driver. */
export class GpuError extends Mamba2Error {
  readonly code = 'gpu';
}

/** The GPU went away: it was reset, unplugged, or taken by the system. What was on it is lost. */
export class DeviceLostError extends Mamba2Error {
  readonly code = 'device_lost';
}

/** The GPU has not enough memory for the model, its states, or a step. */
export class OutOfDeviceMemoryError extends Mamba2Error {
  readonly code = 'out_of_device_memory';
}
