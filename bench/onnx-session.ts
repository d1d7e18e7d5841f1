import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { ModelShape } from '../src/bench/model-shapes.ts';
import { encodeOnnx } from './onnx-writer.ts';
import { type OnnxDType, type OnnxState, syntheticOnnx } from './synthetic-onnx.ts';

/** Sequences of one length that run in onnxruntime, with their states. */
export class OnnxSession {
  readonly vocabSize: number;
  readonly #session: InferenceSession;
  readonly #states: readonly OnnxState[];
  #past: Readonly<Record<string, Tensor>> = {};
  #sequences = 0;

  private constructor(session: InferenceSession, states: readonly OnnxState[], vocabSize: number) {
    this.#session = session;
    this.#states = states;
    this.vocabSize = vocabSize;
  }

  static async load(shape: ModelShape, dtype: OnnxDType, threads: number): Promise<OnnxSession> {
    const { graph, states, vocabSize } = syntheticOnnx(shape, dtype);
    const session = await InferenceSession.create(encodeOnnx(graph), {
      ...{ intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential' },
      graphOptimizationLevel: 'all',
    });
    return new OnnxSession(session, states, vocabSize);
  }

  /** Forgets all sequences and begins so many new ones. */
  begin(sequences: number): void {
    this.#sequences = sequences;
    const zeros = ({ dims }: OnnxState) => {
      const values = new Float32Array(dims.reduce((product, extent) => product * extent, sequences));
      return new Tensor('float32', values, [sequences, ...dims]);
    };
    this.#past = Object.fromEntries(this.#states.map((state) => [state.input, zeros(state)]));
  }

  /** One step. @param tokenIds for each sequence as many. → logits of the last token of each, one after another */
  async step(tokenIds: readonly number[]): Promise<Float32Array> {
    const dims = [this.#sequences, tokenIds.length / this.#sequences];
    const ids = new Tensor('int64', BigInt64Array.from(tokenIds, BigInt), dims);
    const results = await this.#session.run({ ...this.#past, ids });
    this.#past = Object.fromEntries(this.#states.map(({ input, output }) => [input, results[output]]));
    const logits = results.logits.data;
    if (!(logits instanceof Float32Array)) throw new Error('onnxruntime gave no float32 logits.');
    return logits;
  }
}
