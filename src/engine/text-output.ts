import { IncrementalDetokenizer } from '../text/incremental-detokenizer.ts';
import { StopStringMatcher } from '../text/stop-strings.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';

/** Turns a request's tokens into its text: whole characters only, and nothing of a stop string. */
export class TextOutput {
  readonly #detokenizer: IncrementalDetokenizer | undefined;
  readonly #stops: StopStringMatcher;

  /** Without a tokenizer the text stays empty. */
  constructor(tokenizer: TextTokenizer | undefined, promptTokenIds: readonly number[], stop: readonly string[]) {
    this.#detokenizer = tokenizer && new IncrementalDetokenizer(tokenizer, { prompt: promptTokenIds });
    this.#stops = new StopStringMatcher(stop);
  }

  /** The text that this token makes certain, and whether a stop string ends it. */
  push(tokenId: number): { text: string; stopped: boolean } {
    return this.#detokenizer ? this.#stops.push(this.#detokenizer.push(tokenId)) : { text: '', stopped: false };
  }

  /** What was held back, once no token follows. */
  flush(): { text: string; stopped: boolean } {
    if (!this.#detokenizer) return { text: '', stopped: false };
    const rest = this.#stops.push(this.#detokenizer.flush());
    if (rest.stopped) return rest;
    const held = this.#stops.flush();
    return { text: rest.text + held.text, stopped: held.stopped };
  }
}
