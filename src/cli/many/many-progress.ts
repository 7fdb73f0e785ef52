/** How a plan stands while it is carried out: a table that is drawn anew on a terminal, a line now and then elsewhere. */
import type { ManyView } from '../../operations/restore-many/restore-many.js';
import type { Output, OutputStream } from '../output.js';
import { Forecaster, type ManyForecast } from './forecast.js';
import { statusTable, totalLine } from './many-table.js';

/** Often enough for whoever reads a log at three in the morning. */
const LINE_MS = 30_000;

export class ManyProgress {
  readonly #output: Output;
  readonly #terminal: OutputStream | null;
  readonly #forecaster = new Forecaster();
  readonly #now: () => number;
  #toldMs: number;

  constructor(output: Output, terminal: OutputStream | null, now: () => number = Date.now) {
    this.#output = output;
    this.#terminal = terminal;
    this.#now = now;
    this.#toldMs = now();
  }

  forecast(view: ManyView): ManyForecast {
    return this.#forecaster.forecast(view, this.#now());
  }

  update(view: ManyView): void {
    const forecast = this.forecast(view);
    if (this.#terminal !== null) {
      const { rows, columns } = this.#terminal;
      const size = { rows: (rows || 24) - 1, columns: (columns || 80) - 1 };
      this.#output.status(statusTable(view, forecast, size));
      return;
    }
    const nowMs = this.#now();
    if (nowMs - this.#toldMs < LINE_MS) return;
    this.#toldMs = nowMs;
    this.#output.note(totalLine(view, forecast));
  }

  stop(): void {
    this.#output.status('');
  }
}
