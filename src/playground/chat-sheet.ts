import type { ChatChunk, ChatMessage } from '../index.ts';
import { Batcher } from '../page/batcher.ts';
import { byId } from '../page/element.ts';
import type { AnswerPiece } from '../page/server-client.ts';
import { Conversation, type Turn } from '../page/turns/conversation.ts';
import { keepEndInSight } from '../page/turns/end-in-sight.ts';
import { TurnView } from '../page/turns/turn-view.ts';

/** The parts of a chunk that the page shows. */
type Chunk = Pick<ChatChunk, 'text' | 'reasoning' | 'toolCalls'>;

/** A conversation with the model, for models with a chat template. */
export class ChatSheet {
  /** Called when the reader sends the results of the last answer's calls. */
  onResults: () => void = () => {};
  readonly #root = byId('transcript', HTMLElement);
  readonly #scroller = byId('scroller', HTMLElement);
  readonly #conversation = new Conversation();
  readonly #batcher = new Batcher((pieces: readonly AnswerPiece[]) => this.#draw(pieces));
  #turn: Turn | undefined;
  #view: TurnView | undefined;
  #numTurns = 0;
  #isMarkdown = true;

  /**
   * Begins a turn, with the results of calls that the reader has written.
   * @param question empty where the turn is the results.
   * @returns the conversation so far, for the model to answer
   */
  ask(question: string): readonly ChatMessage[] {
    this.#turn = this.#conversation.begin(question, this.#view?.takeResults());
    this.#view = new TurnView(`${this.#numTurns++}`, question, 'chat', this.#isMarkdown);
    this.#root.append(this.#view.root);
    this.#view.begin();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    const asked = this.#conversation.question('');
    return 'messages' in asked ? asked.messages.map((message) => ({ ...message })) : [];
  }

  /** Adds text, thoughts and calls of the answer as they come. */
  add({ text, reasoning, toolCalls }: Chunk): void {
    if (this.#turn) {
      this.#turn.answer += text;
      this.#turn.thoughts += reasoning ?? '';
    }
    this.#batcher.add({ text, reasoning, calls: toolCalls });
  }

  end(note: string): void {
    this.#finish((view) => view.end(note));
  }

  fail(message: string): void {
    this.#finish((view) => view.fail(message));
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

  #finish(show: (view: TurnView) => void): void {
    this.#batcher.flush();
    const [turn, view] = [this.#turn, this.#view];
    if (!turn || !view) return;
    turn.calls = view.calls;
    keepEndInSight(this.#scroller, () => {
      show(view);
      view.askForResults(() => this.onResults());
    });
  }

  #draw(pieces: readonly AnswerPiece[]): void {
    keepEndInSight(this.#scroller, () => {
      for (const piece of pieces) this.#view?.add(piece);
      this.#view?.draw();
    });
  }
}
