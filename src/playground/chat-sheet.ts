import type { ChatMessage } from '../index.ts';
import { Batcher } from '../page/batcher.ts';
import { Conversation, type Turn } from '../page/conversation.ts';
import { byId } from '../page/element.ts';
import { keepEndInSight } from '../page/end-in-sight.ts';
import { TurnView } from '../page/turn-view.ts';

/** A conversation with the model, for models with a chat template. */
export class ChatSheet {
  readonly #root = byId('transcript', HTMLElement);
  readonly #scroller = byId('scroller', HTMLElement);
  readonly #conversation = new Conversation();
  readonly #batcher = new Batcher((texts: readonly string[]) => this.#draw(texts));
  #turn: Turn | undefined;
  #view: TurnView | undefined;
  #numTurns = 0;
  #isMarkdown = true;

  /** Begins a turn. @returns the conversation so far, for the model to answer */
  ask(question: string): readonly ChatMessage[] {
    this.#turn = this.#conversation.begin(question);
    this.#view = new TurnView(`${this.#numTurns++}`, question, 'chat', this.#isMarkdown);
    this.#root.append(this.#view.root);
    this.#view.begin();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    const asked = this.#conversation.question('');
    return 'messages' in asked ? asked.messages.map((message) => ({ ...message })) : [];
  }

  /** Adds text of the answer as it comes. */
  add(text: string): void {
    if (this.#turn) this.#turn.answer += text;
    this.#batcher.add(text);
  }

  end(note: string): void {
    this.#batcher.flush();
    this.#view?.end(note);
  }

  fail(message: string): void {
    this.#batcher.flush();
    this.#view?.fail(message);
  }

  /** Begins a new conversation. @param isMarkdown whether answers are Markdown. */
  clear(isMarkdown = this.#isMarkdown): void {
    this.#isMarkdown = isMarkdown;
    this.#batcher.flush();
    this.#conversation.clear();
    this.#root.replaceChildren();
    this.#turn = undefined;
    this.#view = undefined;
  }

  #draw(texts: readonly string[]): void {
    keepEndInSight(this.#scroller, () => {
      for (const text of texts) this.#view?.add({ text });
      this.#view?.draw();
    });
  }
}
