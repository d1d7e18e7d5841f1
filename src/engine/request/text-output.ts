import { IncrementalDetokenizer } from '../../text/incremental-detokenizer.ts';
import { ThoughtText } from '../../text/parsers/thought-text.ts';
import { StopStringMatcher, type StopStrings } from '../../text/stop-strings.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { SamplingParams } from '../sample/sampling-params.ts';

/** Text that is certain, and the stop string that ended it, if one did. */
export interface CertainText {
  readonly text: string;
  readonly stop?: string | undefined;
}

type TextParams = Pick<SamplingParams, 'includeStopStrInOutput' | 'minTokens' | 'skipSpecialTokens' | 'thoughts'>;

/**
 * Turns an answer's tokens into its text: whole characters only, and nothing past a stop string. Thoughts before the
 * answer are not searched for stop strings.
 */
export class TextOutput {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #detokenizer: IncrementalDetokenizer | undefined;
  readonly #stops: StopStringMatcher;
  readonly #thoughts: ThoughtText | undefined;
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
    const { includeStopStrInOutput, minTokens, skipSpecialTokens, thoughts } = params;
    this.#tokenizer = tokenizer;
    const options = { prompt: promptTokenIds, skipSpecialTokens };
    this.#detokenizer = tokenizer && new IncrementalDetokenizer(tokenizer, options);
    this.#stops = new StopStringMatcher(stops);
    this.#thoughts = thoughts && new ThoughtText(thoughts);
    this.#includeStop = includeStopStrInOutput;
    this.#minTokens = minTokens;
    this.#skipSpecialTokens = skipSpecialTokens;
  }

  /** Whether the text ends inside thoughts. */
  get isThinking(): boolean {
    return this.#thoughts?.isThinking ?? false;
  }

  /** Whether thoughts may still come, or have not ended. */
  get mayThink(): boolean {
    return this.#thoughts?.mayThink ?? false;
  }

  /** The text that this token makes certain. One that ends the answer is usually no part of the text: `isShown` false. */
  push(tokenId: number, isShown = true): CertainText {
    this.#tokens++;
    if (!this.#tokenizer || !this.#detokenizer) return { text: '' };
    // As in vLLM, text that comes before the minimum is not searched.
    const isSearched = this.#tokens > this.#minTokens;
    if (isShown && this.#tokenizer.isVisible(tokenId, this.#skipSpecialTokens)) {
      const text = this.#detokenizer.push(tokenId);
      return this.#search(text, isSearched);
    }
    return isSearched && !this.isThinking
      ? this.#shown(this.#stops.pushHidden(this.#tokenizer.tokenText(tokenId)))
      : { text: '' };
  }

  /** The text that was held back, once no token follows. */
  flush(): CertainText {
    if (!this.#detokenizer) return { text: '' };
    const { thoughts, rest } = this.#split(this.#detokenizer.flush(), true);
    const end = this.#stops.push(rest);
    if (end.stopped) return this.#shown({ ...end, text: thoughts + end.text });
    const held = this.#stops.flush();
    return this.#shown({ text: thoughts + end.text + held.text, stop: held.stop });
  }

  #search(text: string, isSearched: boolean): CertainText {
    const { thoughts, rest } = this.#split(text);
    if (!isSearched) return { text: thoughts + rest };
    const { text: certain, stop } = this.#stops.push(rest);
    return this.#shown({ text: thoughts + certain, stop });
  }

  /** @param isLast whether no text follows: then none waits. */
  #split(text: string, isLast = false): { readonly thoughts: string; readonly rest: string } {
    if (!this.#thoughts) return { thoughts: '', rest: text };
    const { begin, thoughts, end, rest } = this.#thoughts.push(text);
    const held = isLast ? this.#thoughts.flush() : undefined;
    return { thoughts: begin + thoughts + end + (held?.thoughts ?? ''), rest: rest + (held?.rest ?? '') };
  }

  #shown({ text, stop }: CertainText): CertainText {
    return { text: this.#includeStop && stop !== undefined ? text + stop : text, stop };
  }
}
