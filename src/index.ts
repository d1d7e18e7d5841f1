/// <reference path="../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * mamba2: Mamba-2 inference for TypeScript.
 *
 * Most programs need {@link LLM} alone. The layer and its foundations are exported for programs with models of
 * their own; the operations are in `mamba2/ops`.
 *
 * @module mamba2
 */

export type { MlpActivation } from './backends/contract/activations.ts';
export type { ArrayOps } from './backends/contract/arrays.ts';
export type {
  AttentionOps,
  PagedAttentionArgs,
  PagedSequences,
  ReshapeAndCacheArgs,
} from './backends/contract/attention.ts';
export type { Backend } from './backends/contract/backend.ts';
export type { CollectiveOps } from './backends/contract/collectives.ts';
export type {
  Activation,
  CausalConv1dArgs,
  CausalConv1dUpdateArgs,
  ConvolutionOps,
} from './backends/contract/convolution.ts';
export type { ExpertOps, ExpertWeights, RoutingOptions } from './backends/contract/experts.ts';
export type { FeedForwardOps } from './backends/contract/feed-forward.ts';
export type { HostTensor } from './backends/contract/host-tensor.ts';
export type { BackendLifeCycle, MemoryNeed, PrepareWatch } from './backends/contract/life-cycle.ts';
export type { BlockWeightWriter, LinearOps, LinearWeight, LinearWeightWriter } from './backends/contract/linear.ts';
export type { GroupLayout, NormOps } from './backends/contract/norms.ts';
export type { RowOps } from './backends/contract/rows.ts';
export type { SamplingInputs, SamplingOps, SamplingTensors } from './backends/contract/sampling.ts';
export { PAD_SLOT_ID } from './backends/contract/sequences.ts';
export type { SavedSlot, SlotOps } from './backends/contract/slots.ts';
export type {
  ChunkScanArgs,
  LogDecayArgs,
  Replay,
  ReplayedState,
  ReplayOps,
  SelectiveStateArgs,
  SelectiveStateUpdateArgs,
  StateSpaceOps,
  StochasticRounding,
  TakeReplayedArgs,
} from './backends/contract/state-space.ts';
export type {
  RepeatableStep,
  StepInputs,
  StepOps,
  StepResults,
  StepTensors,
  TensorsFor,
} from './backends/contract/steps.ts';
export { CPU_KERNELS, type CpuKernels } from './backends/cpu/kernels/product-forms.ts';
export { ReferenceBackend } from './backends/reference/reference-backend.ts';
export type { CheckpointTensor } from './checkpoint/checkpoint.ts';
export { Checkpoint } from './checkpoint/checkpoint.ts';
export type { ByteSource } from './checkpoint/files/byte-source.ts';
export type { ModelFiles, StoredTokenizer, TokenizerFacts } from './checkpoint/files/model-files.ts';
export type { ReadScratch } from './checkpoint/files/read-scratch.ts';
export type { RowRange } from './checkpoint/files/row-range.ts';
export type { StoredBlocks, StoredTensor } from './checkpoint/files/stored-tensor.ts';
export type { HubOptions } from './checkpoint/hub/hub-options.ts';
export type { JsonObject, JsonValue } from './checkpoint/json/json-parser.ts';
export { bundledModels, resolveModel } from './checkpoint/model-source.ts';
export type { FileVersion } from './checkpoint/net/file-version.ts';
export type { ProgressCallback, ProgressEvent } from './checkpoint/net/progress.ts';
export type { Fetch } from './checkpoint/net/url-client.ts';
export type { CheckpointQuantization } from './checkpoint/quantization/open-quantized.ts';
export type { QuantizedCaches } from './checkpoint/quantization/quantized-caches.ts';
export { SafetensorsFile } from './checkpoint/safetensors/safetensors.ts';
export type { SafetensorsDType, TensorInfo } from './checkpoint/safetensors/safetensors-header.ts';
export { deleteStoredModel, type StoredModel, storedModels } from './checkpoint/stored/stored-models.ts';
export type { Link } from './distributed/link.ts';
export type { AddArrays } from './distributed/process-group.ts';
export { type ProcessGroup, singleProcess } from './distributed/process-group.ts';
export {
  createGroupMemory,
  failGroup,
  type GroupMemory,
  type ProcessExchange,
  type RankRange,
  SharedMemoryGroup,
} from './distributed/shared-memory-group.ts';
export type { WorkerScript, WorkerScripts } from './distributed/worker-scripts.ts';
export type { AsyncLLMEngine, ShutdownOptions } from './engine/async-llm-engine.ts';
export type { ChatFinishReason, ChatToolCallDelta, MergedDeltas } from './engine/chat/answer-reader.ts';
export type { ChatChoice, ChatChunk, ChatCompletion, ChatUsage } from './engine/chat/chat-chunk.ts';
export type { ChatOptions, ChatParsers, ChatTemplateInputs } from './engine/chat/chat-options.ts';
export type { EngineEvent, EngineEventListener } from './engine/engine-events.ts';
export type { EngineStats, SpeculationStats } from './engine/engine-stats.ts';
export type { PromptOptions } from './engine/llm.ts';
export { type Completion, type CompletionChoice, type EvaluationOptions, LLM } from './engine/llm.ts';
export type { DeviceChoice } from './engine/load/choose-device.ts';
export type { EngineLimits } from './engine/load/engine-options.ts';
export type { LoadedDType } from './engine/load/load-model.ts';
export type { LoadOptions } from './engine/load/load-options.ts';
export { type ChosenDevice, DEVICES, type Device } from './engine/ranks/devices.ts';
export type { Follower, Job } from './engine/ranks/job.ts';
export type { EngineRequest } from './engine/request/engine-request.ts';
export type { GenerationChunk } from './engine/request/generation-chunk.ts';
export type { HalfLives } from './engine/request/half-lives.ts';
export type { PromptLogprobs } from './engine/request/logprob-columns.ts';
export type { Prompt } from './engine/request/prompt.ts';
export type {
  CompletionOutput,
  FinishReason,
  GuessCounts,
  OutputToken,
  RequestOutput,
} from './engine/request/request-output.ts';
export type { RequestStream } from './engine/request/request-stream.ts';
export type { KvCacheFootprint, StateFootprint } from './engine/run/executor.ts';
export type { LogitsContext, LogitsProcessor } from './engine/sample/logits-processor.ts';
export type { GenerateOptions, LogprobsMode, SamplingParams, Thoughts } from './engine/sample/sampling-params.ts';
export type { PromptTokenLogprob, RankedTokenLogprob, TokenLogprob } from './engine/sample/token-logprob.ts';
export type { SavedPart, SavedStates, WrittenState } from './engine/schedule/saved-states.ts';
export type { KnownPrefix } from './engine/schedule/state-manager.ts';
export type { Session, SessionGenerateOptions, SessionOptions } from './engine/session/session.ts';
export type {
  DraftModelConfig,
  MtpConfig,
  NgramConfig,
  SpeculativeConfig,
} from './engine/speculate/speculative-config.ts';
export type { PrefixCacheStats } from './engine/state/prefix-cache.ts';
export type { PrefixNode } from './engine/state/prefix-tree.ts';
export type { CacheSalt, Snapshot } from './engine/state/snapshot.ts';
export { openStateStore } from './engine/store/homes/open-state-store.ts';
export type { StateStore } from './engine/store/homes/state-store.ts';
export type { StateStoreEvent, StateStoreStats } from './engine/store/store-events.ts';
export { STATE_FETCHES, type StateFetch } from './engine/store/transfer-rates.ts';
export * from './errors.ts';
export type { AnswerGrammar } from './grammar/answer-grammar.ts';
export type { StructuredOutputs } from './grammar/forms/structured-outputs.ts';
export type { TokenGrammar } from './grammar/grammars.ts';
export type { TokenBits } from './grammar/token-bits.ts';
export type { KvCacheParams } from './layers/attention/attention.ts';
export type { AttentionMetadata, BatchMetadata } from './layers/attention/attention-metadata.ts';
export type { KvCacheShape, KvCacheSize } from './layers/attention/kv-cache-shape.ts';
export type { LinearOptions } from './layers/linear/linear.ts';
export { ColumnParallelLinear, RowParallelLinear } from './layers/linear/linear.ts';
export type { RankSum } from './layers/linear/rank-sum.ts';
export type { ConvActivation } from './layers/mamba/depthwise-conv1d.ts';
export { MambaMixer2 } from './layers/mamba/mamba-mixer2.ts';
export type { MambaMixer2Options } from './layers/mamba/mamba-mixer2-options.ts';
export type { MambaStateSize } from './layers/mamba/mamba-state-shape.ts';
export { type MambaStateShape, mamba2StateShape } from './layers/mamba/mamba-state-shape.ts';
export {
  type BatchOrder,
  buildMamba2Metadata,
  type KeptRows,
  type Mamba2Metadata,
  type ReplayedRows,
  reorderBatch,
  type ScheduledSequence,
} from './layers/mamba/mamba2-metadata.ts';
export { Mixer2RMSNormGated } from './layers/mamba/mixer2-rms-norm-gated.ts';
export type { PreviousTokenCache } from './layers/mamba/previous-token.ts';
export type { MambaCacheParams, StateSpaceMixer } from './layers/mamba/state-space-mixer.ts';
export { extraGroupsForHeadShards, mambaV2ShardedWeightLoader } from './layers/mamba/vllm-names.ts';
export type { WeightCheck } from './layers/parameters/layer-context.ts';
export { LayerContext, type LayerContextOptions, type Stage } from './layers/parameters/layer-context.ts';
export {
  Loaded,
  type MatrixRole,
  type Module,
  type Parameter,
  type ParameterPart,
  type ParameterRole,
  ParameterTable,
} from './layers/parameters/parameter.ts';
export { BlockwiseQuantization, type QuantizationConfig } from './layers/parameters/quantization.ts';
export { linearWeightSink, type RowSink, tensorSink } from './layers/parameters/row-sink.ts';
export { type MatrixSpec, matrixWeight, tensorWeight, Weight, type WeightSpec } from './layers/parameters/weight.ts';
export {
  composedWeightLoader,
  extraReplicasForShards,
  loadShard,
  type RowRun,
  replicatedWeightLoader,
  type ShardSpec,
  shardedWeightLoader,
  stackedWeightLoader,
  type WeightLoader,
} from './layers/parameters/weight-loaders.ts';
export type { CausalLM, LayerPart, ModelConfig, ModelInput, PredictorInput } from './models/causal-lm.ts';
export type { DecoderLM } from './models/decoder-lm.ts';
export { Mamba2ForCausalLM } from './models/mamba2.ts';
export type { Mamba2Config } from './models/mamba2-config.ts';
export { supportedArchitectures } from './models/registry.ts';
export type { BlockFormat, MatrixDType } from './tensor/block-formats.ts';
export { type DTypeChoice, WEIGHT_DTYPES, type WeightDType } from './tensor/dtype.ts';
export type { KvCacheDType, KvCacheDTypeSetting, ShortKvCacheDType } from './tensor/kv-cache-dtype.ts';
export type { MatmulPrecision } from './tensor/matmul-precision.ts';
export type {
  ShortStateDType,
  StateDType,
  StateDTypeSetting,
  StateRounding,
  StateStorage,
} from './tensor/state-dtype.ts';
export type { Tensor } from './tensor/tensor.ts';
export type { TextPart } from './text/chat/chat-message.ts';
export type {
  ChatMessage,
  ChatTemplate,
  ChatTemplateOptions,
  TemplateKind,
  TemplateSources,
} from './text/chat/chat-template.ts';
export type { ToolCall, ToolCallDelta } from './text/parsers/answer-delta.ts';
export { REASONING_PARSERS, TOOL_CALL_PARSERS } from './text/parsers/choose-parsers.ts';
export type { ThoughtMarkers } from './text/parsers/thought-text.ts';
export type { Tool, ToolChoice, ToolFunction } from './text/parsers/tool-definition.ts';
export type { TextInput, TextJob, TextResults } from './text/text-job.ts';
export type { TextLimits, TextThreads } from './text/text-threads.ts';
export type { TextPlace } from './text/token-decoder.ts';
export type { DecodeOptions, EncodeOptions } from './text/tokenizer.ts';
export { TextTokenizer } from './text/tokenizer.ts';
