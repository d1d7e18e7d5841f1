import type { ChatMessage } from '../index.ts';
import { Batcher } from '../page/batcher.ts';
import { Conversation, type Turn } from '../page/conversation.ts';
import { byId } from '../page/element.ts';
import { keepEndInSight } from '../page/end-in-sight.ts';
import type { AnswerPiece } from '../page/server-client.ts';
import { TurnView } from '../page/turn-view.ts';

/** A piece of an answer. */
type Piece = Pick<AnswerPiece, 'text' | 'reasoning'>;

/** A conversation with the model, for models with a chat template. */
export class ChatSheet {
  readonly #root = byId('transcript', HTMLElement);
  readonly #scroller = byId('scroller', HTMLElement);
  readonly #conversation = new Conversation();
  readonly #batcher = new Batcher((pieces: readonly Piece[]) => this.#draw(pieces));
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

  /** Adds text and thoughts of the answer as they come. */
  add(piece: Piece): void {
    if (this.#turn) this.#turn.answer += piece.text;
    this.#batcher.add(piece);
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

  #draw(pieces: readonly Piece[]): void {
    keepEndInSight(this.#scroller, () => {
      for (const piece of pieces) this.#view?.add(piece);
      this.#view?.draw();
    });
  }
}
