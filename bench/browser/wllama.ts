/** The part of wllama's interface that is used; the compiler can't follow wllama's own declarations. */
export interface WllamaModule {
  readonly Wllama: new (
    assets: { readonly default: string },
    options: { readonly suppressNativeLog: boolean; readonly logger: typeof console },
  ) => Wllama;
}

export interface Wllama {
  loadModel(
    files: readonly Blob[],
    options: {
      readonly n_threads: number;
      readonly n_gpu_layers: number;
      readonly n_ctx: number;
      readonly n_parallel: number;
    },
  ): Promise<void>;
  getNumThreads(): number;
  createCompletion(options: {
    readonly prompt: string;
    readonly max_tokens: number;
    readonly temperature: number;
    readonly ignore_eos: boolean;
    readonly cache_prompt: boolean;
  }): Promise<{ readonly timings?: WllamaTimings }>;
  exit(): Promise<void>;
}

/** Times that wllama's engine measured itself. */
export interface WllamaTimings {
  readonly prompt_n: number;
  readonly prompt_ms: number;
  readonly predicted_n: number;
  readonly predicted_ms: number;
}
