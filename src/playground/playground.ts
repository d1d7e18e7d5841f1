import type { LLM, ProgressEvent } from '../index.ts';
import { byId } from '../page/element.ts';
import { FactsView } from './facts-view.ts';
import { LoadProgress } from './load-progress.ts';
import { loadWithFallback } from './load-with-fallback.ts';
import { type ModelChoice, ModelForm } from './model-form.ts';
import { SamplingForm } from './sampling-form.ts';
import { Speed } from './speed.ts';
import { StoredList } from './stored-list.ts';
import { TextSheet } from './text-sheet.ts';

/** The page: loads a model into this browser and generates with it. */
export class Playground {
  readonly #model = new ModelForm();
  readonly #sampling = new SamplingForm();
  readonly #stored = new StoredList();
  readonly #facts = new FactsView();
  readonly #sheet = new TextSheet();
  readonly #prompt = byId('prompt', HTMLTextAreaElement);
  readonly #generate = byId('generate', HTMLButtonElement);
  readonly #stop = byId('stop', HTMLButtonElement);
  readonly #progress = byId('progress', HTMLProgressElement);
  readonly #loadText = byId('load-text', HTMLElement);
  #llm: LLM | undefined;
  #loading: AbortController | undefined;
  #running: AbortController | undefined;

  constructor() {
    this.#model.onLoad = (choice) => void this.#load(choice);
    this.#model.onCancel = () => this.#loading?.abort();
    this.#stored.onChoose = (source) => {
      this.#model.source = source;
    };
    byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#run();
    });
    this.#prompt.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void this.#run();
    });
    this.#stop.addEventListener('click', () => this.#running?.abort());
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#running?.abort();
    });
  }

  /** Loads what the page begins with. */
  async start(): Promise<void> {
    await Promise.all([this.#stored.refresh(), this.#load(this.#model.choice)]);
  }

  async #load({ source, options }: ModelChoice): Promise<void> {
    if (this.#loading) return;
    const loading = new AbortController();
    this.#loading = loading;
    this.#running?.abort();
    this.#model.setBusy(true);
    this.#generate.disabled = true;
    this.#loadText.classList.remove('failure');
    this.#facts.clear();
    try {
      // Two models at once may be more than a page can hold.
      await this.#llm?.dispose();
      this.#llm = undefined;
      const progress = new LoadProgress();
      const onProgress = (event: ProgressEvent) => {
        progress.add(event);
        this.#showProgress(progress);
      };
      this.#showProgress(progress);
      const loaded = await loadWithFallback(source, { ...options, onProgress, signal: loading.signal });
      this.#llm = loaded.llm;
      this.#facts.showModel(loaded, progress, options.dtype ?? 'auto');
      byId('model-name', HTMLElement).textContent = source;
      this.#generate.disabled = false;
      this.#loadText.textContent = 'Ready.';
    } catch (error) {
      const isCancelled = loading.signal.aborted;
      this.#loadText.classList.toggle('failure', !isCancelled);
      this.#loadText.textContent = isCancelled ? 'Cancelled; what was fetched is kept.' : messageOf(error);
    }
    this.#loading = undefined;
    this.#progress.hidden = true;
    this.#model.setBusy(false);
    await this.#stored.refresh();
  }

  #showProgress(progress: LoadProgress): void {
    this.#progress.hidden = false;
    this.#progress.value = progress.fraction;
    this.#loadText.textContent = progress.text;
  }

  async #run(): Promise<void> {
    const llm = this.#llm;
    if (llm === undefined || this.#running) return;
    const running = new AbortController();
    this.#running = running;
    this.#generate.hidden = true;
    this.#stop.hidden = false;
    const prompt = this.#prompt.value;
    this.#sheet.begin(prompt);
    const speed = new Speed(performance.now());
    try {
      for await (const { text } of llm.generate(prompt, { ...this.#sampling.values, signal: running.signal })) {
        speed.add(performance.now());
        this.#sheet.add(text);
        this.#facts.showSpeed(speed);
      }
    } catch (error) {
      if (!running.signal.aborted) this.#sheet.fail(messageOf(error));
    }
    this.#facts.showMemory(llm);
    this.#running = undefined;
    this.#generate.hidden = false;
    this.#stop.hidden = true;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
