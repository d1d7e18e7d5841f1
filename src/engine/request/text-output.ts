import { IncrementalDetokenizer } from '../../text/incremental-detokenizer.ts';
import { StopStringMatcher, type StopStrings } from '../../text/stop-strings.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { SamplingParams } from '../sample/sampling-params.ts';

/** Text that is certain, and the stop string that ended it, if one did. */
export interface CertainText {
  readonly text: string;
  readonly stop?: string | undefined;
}

type TextParams = Pick<SamplingParams, 'includeStopStrInOutput' | 'minTokens' | 'skipSpecialTokens'>;

/** Turns an answer's tokens into its text: whole characters only, and nothing past a stop string. */
export class TextOutput {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #detokenizer: IncrementalDetokenizer | undefined;
  readonly #stops: StopStringMatcher;
  readonly #includeStop: boolean;
  readonly #minTokens: number;
  readonly #skipSpecialTokens: boolean;
  #tokens = 0;

  /** Without a tokenizer the text stays empty. */
  constructor(
    tokenizer: TextTokenizer | undefined,
    promptTokenIds: readonly number[],
    stops: StopStrings,
    params: TextParams,
  ) {
    const { includeStopStrInOutput, minTokens, skipSpecialTokens } = params;
    this.#tokenizer = tokenizer;
    const options = { prompt: promptTokenIds, skipSpecialTokens };
    this.#detokenizer = tokenizer && new IncrementalDetokenizer(tokenizer, options);
    this.#stops = new StopStringMatcher(stops);
    this.#includeStop = includeStopStrInOutput;
    this.#minTokens = minTokens;
    this.#skipSpecialTokens = skipSpecialTokens;
  }

  /** The text that this token makes certain. One that ends the answer is usually no part of the text: `isShown` false. */
  push(tokenId: number, isShown = true): CertainText {
    this.#tokens++;
    if (!this.#tokenizer || !this.#detokenizer) return { text: '' };
    // As in vLLM, text that comes before the minimum is not searched.
    const isSearched = this.#tokens > this.#minTokens;
    if (isShown && this.#tokenizer.isVisible(tokenId, this.#skipSpecialTokens)) {
      const text = this.#detokenizer.push(tokenId);
      return isSearched ? this.#shown(this.#stops.push(text)) : { text };
    }
    return isSearched ? this.#shown(this.#stops.pushHidden(this.#tokenizer.tokenText(tokenId))) : { text: '' };
  }

  /** The text that was held back, once no token follows. */
  flush(): CertainText {
    if (!this.#detokenizer) return { text: '' };
    const rest = this.#stops.push(this.#detokenizer.flush());
    if (rest.stopped) return this.#shown(rest);
    const held = this.#stops.flush();
    return this.#shown({ text: rest.text + held.text, stop: held.stop });
  }

  #shown({ text, stop }: CertainText): CertainText {
    return { text: this.#includeStop && stop !== undefined ? text + stop : text, stop };
  }
}
