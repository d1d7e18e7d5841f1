import type { Request } from './request.ts';
import type { CompletionOutput, RequestOutput } from './request-output.ts';

/** Gathers a step's results by request. */
export class OutputCollector {
  readonly #completions = new Map<Request, CompletionOutput[]>();
  readonly #errors = new Map<Request, Error>();

  add(request: Request, completion: CompletionOutput): void {
    const completions = this.#completions.get(request) ?? [];
    this.#completions.set(request, completions);
    const at = completions.findIndex(({ index }) => index === completion.index);
    if (at < 0) completions.push(completion);
    else completions[at] = joined(completions[at], completion);
  }

  fail(request: Request, error: Error): void {
    this.#errors.set(request, error);
  }

  outputs(): RequestOutput[] {
    const requests = new Set([...this.#completions.keys(), ...this.#errors.keys()]);
    return [...requests].map((request) => {
      const error = this.#errors.get(request);
      const promptLogprobs = request.takePromptLogprobs();
      return {
        requestId: request.id,
        numCachedTokens: request.numCachedTokens,
        ...(promptLogprobs && { promptLogprobs }),
        ...(request.isSpeculative && { guesses: { ...request.guesses } }),
        outputs: (this.#completions.get(request) ?? []).toSorted((a, b) => a.index - b.index),
        finished: request.isEnded,
        ...(error && { error }),
      };
    });
  }
}

/** News of one answer, and further news of it. */
function joined(first: CompletionOutput, next: CompletionOutput): CompletionOutput {
  return { ...next, text: first.text + next.text, tokens: [...first.tokens, ...next.tokens] };
}
