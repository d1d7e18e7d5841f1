import type { ModelShape } from '../src/bench/model-shapes.ts';
import type { DType, Rates, Workload } from './workload.ts';

/** Another program that runs the same work. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  /** The type that stores about as many bits per weight, as the peer calls it; dtypes that it lacks are absent. */
  readonly formats: Partial<Record<DType, string>>;
  /** Dtypes that are measured unless others are asked for. */
  defaultDTypes(shape: ModelShape): readonly DType[];
  /** Makes what a run needs, unless it is there. → the file that both sides run, if they run the same one */
  prepare(shape: ModelShape, dtype: DType): Promise<string | undefined>;
  /** One run of everything; the program warms up before it measures. */
  run(dtype: DType, workload: Workload): Promise<Rates>;
}
