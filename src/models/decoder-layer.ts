import type { Attention, KvCacheParams } from '../layers/attention/attention.ts';
import type { BatchMetadata } from '../layers/attention/attention-metadata.ts';
import type { MambaCacheParams, StateSpaceMixer } from '../layers/mamba/state-space-mixer.ts';
import type { Module } from '../layers/parameters/parameter.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { LayerPart } from './causal-lm.ts';

/** Inputs of a layer in a step, besides the hidden states. */
export interface LayerStep {
  /** State of the layer's mixer. Absent in a profile run. */
  readonly cache?: MambaCacheParams | undefined;
  /** Cache of the layer's attention. Absent in a profile run. */
  readonly kvCache?: KvCacheParams | undefined;
  readonly metadata?: BatchMetadata | undefined;
  /** Angles of this step's positions, for models that rotate. */
  readonly rotary?: Tensor | undefined;
  /** Input of the model's first layer, for layers that read it: (T, hiddenSize). */
  readonly embedded: Tensor;
}

/** A layer of a decoder with its residuals: hidden states in, hidden states out. It has a mixer, attention, both or none. */
export interface DecoderLayer extends Module {
  readonly mixer?: StateSpaceMixer | undefined;
  readonly attention?: Attention | undefined;
  readonly parts: readonly LayerPart[];
  forward(hiddenStates: Tensor, step: LayerStep): Tensor;
  /**
   * Puts keys and values of rows into the cache of a layer with attention, and does no more: nothing needs these rows' output.
   * @param slotMapping (T) int32: each row's place.
   */
  store?(hiddenStates: Tensor, kvCache: KvCacheParams, slotMapping: Tensor): void;
}
