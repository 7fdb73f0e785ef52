/** Commands around a backup. `before` may freeze a database or make the snapshot that is the source; `after` undoes it and
 *  runs whatever became of the backup, also when this process dies: then the next backup of the disk runs it first. */
import { rmSync } from 'node:fs';
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Hooks } from '../config/disks.js';
import type { LockOptions } from '../repository/disk-lock.js';
import { claimMark, type HookMark, makeMark } from '../repository/hook-mark.js';
import { hookMarkFile } from '../repository/layout.js';
import type { Repository } from '../repository/repository.js';
import { runCommand } from './hook-command.js';
import { refuseCancelled } from './job.js';

/** What `after` learns of the backup. */
type HookResult = 'ok' | 'failed' | 'cancelled' | 'died';

/** A line's word on a hook that ran. */
export interface RanHook {
  readonly hook: 'before' | 'after';
  /** Of the backup that `after` was told of; null for `before`. */
  readonly result: HookResult | null;
  readonly durationMs: number;
  /** A clause; null where it succeeded. */
  readonly failure: string | null;
}

export interface HookedOptions extends LockOptions {
  /** Null for none. */
  readonly hooks: Hooks | null;
  readonly disk: DiskName;
  /** What the hooks learn of the backup. */
  readonly source: string;
  readonly tags: readonly string[];
}

/** The hooks of one backup; the caller holds the disk's lock until `work` gives it back. */
export class BackupHooks {
  /** Sentences, for the result. */
  readonly warnings: string[] = [];
  readonly ran: RanHook[] = [];
  readonly #repo: Repository;
  readonly #diskDir: string;
  readonly #options: HookedOptions;
  #isPrepared = false;
  /** What a dead backup has left. */
  #dead: HookMark | null = null;

  constructor(repo: Repository, options: HookedOptions) {
    this.#repo = repo;
    this.#diskDir = repo.diskDir(options.disk);
    this.#options = options;
  }

  /** The file in which `before` tells what has changed, null where the configuration names none; and whether it has
   *  succeeded, without which the file is none of this backup's. */
  get told(): { readonly file: string | null; readonly isPrepared: boolean } {
    return { file: this.#options.hooks?.changedExtents ?? null, isPrepared: this.#isPrepared };
  }

  /** Waits for the hooks of an earlier backup, then does `begin`, which notes that this one begins.
   *  @throws {CairnError} LOCKED | CANCELLED | IO; what `begin` throws */
  async whenOthersHaveEnded<T>(begin: () => T): Promise<T> {
    this.#dead = await claimMark(this.#diskDir, this.#options);
    try {
      return begin();
    } catch (error) {
      this.#dead?.leave();
      throw error;
    }
  }

  /** Does `work` between the hooks, after what a dead backup left to do; follows `whenOthersHaveEnded`. `work` is told what
   *  `before` made of the disk, where that is known.
   *  @throws {CairnError} SOURCE_FAILED of `before`; CANCELLED | IO | NO_SPACE; what `work` throws, with what
   *  became of `after` added */
  async around<T extends { readonly revision: string }>(
    work: (gives: Hooks['gives']) => Promise<T>,
  ): Promise<T> {
    await this.#endDead();
    const { hooks } = this.#options;
    if (hooks === null) return await work(null);
    refuseCancelled(this.#options.signal);
    const mark = hooks.after === null ? null : makeMark(this.#diskDir);
    try {
      const result = await this.#between(hooks, work);
      const failure = await this.#after(hooks, 'ok', result.revision);
      if (failure !== null) this.warnings.push(`The revision is taken, but ${failure}.`);
      return result;
    } finally {
      mark?.clear();
    }
  }

  async #between<T>(hooks: Hooks, work: (gives: Hooks['gives']) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#before(hooks));
    } catch (error) {
      const isCancel = error instanceof CairnError && error.code === 'CANCELLED';
      const failure = await this.#after(hooks, isCancel ? 'cancelled' : 'failed', '');
      throw failure === null ? error : attached(error, failure);
    }
  }

  /** @returns what it made of the disk */
  async #before({ before, timeoutMs, onFailure, gives, changedExtents }: Hooks): Promise<Hooks['gives']> {
    if (before === null) return null;
    // The list of a backup that came to nothing must not meet a later state of the source.
    if (changedExtents !== null) removeOld(changedExtents);
    const { signal } = this.#options;
    const failure = await this.#run('before', before, { timeoutMs, signal }, null, {});
    refuseCancelled(signal);
    this.#isPrepared = failure === null;
    if (failure === null) return gives;
    if (onFailure === 'continue') {
      this.warnings.push(`A hook failed, and the backup went on without it: ${failure}.`);
      return null;
    }
    throw new CairnError('SOURCE_FAILED', `The source could not be made ready: ${failure}.`, {
      hint: 'No revision was taken. Run the command by hand to see what it says; “on-failure: continue” backs up what is there all the same.',
    });
  }

  /** A cancel does not end it: what was begun must be undone.
   *  @returns how it failed */
  async #after({ after, timeoutMs }: Hooks, result: HookResult, revision: string): Promise<string | null> {
    if (after === null) return null;
    const more = { CAIRN_RESULT: result, CAIRN_REVISION: revision };
    return await this.#run('after', after, { timeoutMs }, result, more);
  }

  /** Of a backup that was killed between its hooks, whichever the configuration had then. */
  async #endDead(): Promise<void> {
    const mark = this.#dead;
    if (mark === null) return;
    const { hooks } = this.#options;
    if (hooks === null || hooks.after === null) {
      mark.leave();
      this.warnings.push(
        `A backup of this disk died between its hooks, and there is no “after” to run now: see whether what “before” made is still there, then remove ${hookMarkFile(this.#diskDir)}.`,
      );
      return;
    }
    const failure = await this.#after(hooks, 'died', '');
    if (failure !== null) this.warnings.push(`A backup of this disk died between its hooks, and ${failure}.`);
    mark.clear();
  }

  /** @returns how it failed: a clause that names it */
  async #run(
    hook: RanHook['hook'],
    command: string,
    limits: Parameters<typeof runCommand>[2],
    result: HookResult | null,
    more: Readonly<Record<string, string>>,
  ): Promise<string | null> {
    const { disk, source, tags } = this.#options;
    const about = { CAIRN_DISK: disk, CAIRN_SOURCE: source, CAIRN_TAGS: tags.join(' '), ...more };
    this.#repo.log.info({ disk, hook, result }, 'running a hook');
    const ran = { hook, result, ...(await runCommand(command, about, limits)) };
    this.#repo.log.info({ disk, ...ran }, 'a hook has ended');
    this.ran.push(ran);
    return ran.failure === null ? null : `the hook “${hook}” ${ran.failure}`;
  }
}

function removeOld(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch (cause) {
    throw systemError(`The changed extents in ${visible(file)} cannot be removed`, cause);
  }
}

/** The error that led here counts; what went wrong afterwards is added to it. */
function attached(error: unknown, failure: string): unknown {
  if (!(error instanceof CairnError)) return error;
  const message = `${error.message.replace(/\.?$/, '.')} Afterwards ${failure}.`;
  return new CairnError(error.code, message, { hint: error.hint, cause: error });
}
