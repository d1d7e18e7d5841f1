import { byId } from '../element.ts';
import { type Moment, MomentHistory } from '../moment.ts';
import { keepEndInSight } from './end-in-sight.ts';
import { TurnView } from './turn-view.ts';

/** The turns on the page. Each token leads to the moment when the model read it. */
export class Transcript {
  /** Called when the reader points at a token; undefined: no longer. */
  onPoint: (moment: Moment | undefined) => void = () => {};
  /** Called when the reader chooses a token. */
  onChoose: (moment: Moment) => void = () => {};
  readonly #root = byId('transcript', HTMLElement);
  readonly #scroller = byId('scroller', HTMLElement);
  readonly #history = new MomentHistory();
  /** Moments by the keys of tokens. */
  readonly #momentOf = new Map<string, Moment>();
  /** Number of turns so far. */
  #numTurns = 0;
  #marked: Moment | undefined;

  constructor() {
    this.#root.addEventListener('pointerover', (event) => {
      if (event.pointerType === 'mouse') this.onPoint(this.#momentAt(event.target));
    });
    this.#root.addEventListener('pointerleave', () => this.onPoint(undefined));
    this.#root.addEventListener('click', (event) => {
      const moment = this.#momentAt(event.target);
      if (moment) this.onChoose(moment);
    });
  }

  /** @param isMarkdown whether the answer is Markdown, as those of models that were trained on conversations. */
  add(question: string, mode: 'chat' | 'text', isMarkdown: boolean): TurnView {
    const view = new TurnView(`${this.#numTurns++}`, question, mode, isMarkdown);
    this.#root.append(view.root);
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    return view;
  }

  /** Makes a moment's tokens lead to it. */
  remember(moment: Moment): void {
    for (const token of moment.tokens) this.#momentOf.set(token, moment);
    for (const { tokens } of this.#history.add(moment)) for (const token of tokens) this.#momentOf.delete(token);
  }

  clear(): void {
    this.#root.replaceChildren();
    this.#history.clear();
    this.#momentOf.clear();
    this.#marked = undefined;
  }

  /** Makes a change, and keeps the end in sight if it was in sight before. */
  grow(change: () => void): void {
    keepEndInSight(this.#scroller, () => {
      change();
      // Elements that were rendered again may belong to the marked tokens.
      if (this.#marked) this.mark(this.#marked);
    });
  }

  /** Marks the tokens whose moment is shown. */
  mark(moment: Moment | undefined): void {
    for (const token of this.#root.querySelectorAll('.token.marked')) token.classList.remove('marked');
    this.#marked = moment;
    for (const key of moment?.tokens ?? []) {
      for (const token of this.#root.querySelectorAll(`[data-token="${key}"]`)) token.classList.add('marked');
    }
  }

  #momentAt(target: EventTarget | null): Moment | undefined {
    const key = target instanceof HTMLElement ? target.dataset.token : undefined;
    return key === undefined ? undefined : this.#momentOf.get(key);
  }
}
