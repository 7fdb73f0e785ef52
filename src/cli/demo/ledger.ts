/** What each step of the demo cost, and what had to be left out. */
import { formatBytes, formatDuration } from '../../base/units.js';
import { renderTable } from '../table.js';

export interface Step {
  readonly step: string;
  readonly durationMs: number;
  /** What the repository grew by; null for steps that store nothing. */
  readonly storedBytes: number | null;
}

export interface Skip {
  readonly what: string;
  readonly why: string;
}

export class Ledger {
  readonly steps: Step[] = [];
  readonly skipped: Skip[] = [];

  add(step: string, durationMs: number, storedBytes: number | null = null): void {
    this.steps.push({ step, durationMs, storedBytes });
  }

  skip(what: string, why: string): void {
    this.skipped.push({ what, why });
  }

  /** The table, what was left out, and as the last line how much that is. */
  render(): string {
    const table = renderTable<Step>(
      [
        { title: 'STEP', cell: ({ step }) => step },
        { title: 'TIME', align: 'right', cell: ({ durationMs }) => formatDuration(durationMs) },
        {
          title: 'STORED',
          align: 'right',
          cell: ({ storedBytes }) => (storedBytes === null ? '' : formatBytes(storedBytes)),
        },
      ],
      this.steps,
    );
    const left = this.skipped.map(({ what, why }) => `left out: ${what}, because ${why}`);
    return [table, '', ...left, `skipped: ${this.skipped.length}`].join('\n');
  }
}
