/** Brings messages to people. `post` writes them down, `pump` sends them: to each recipient one after the other, to all
 *  recipients side by side. What is refused is tried again with growing pauses, and given up after a week, to where it
 *  counts as lost. One process at a time has a notifier on a repository: the one that holds the daemon's lock. */
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { type Logger, silentLog } from '../../base/log.js';
import { HEARTBEAT, type Notifications } from '../../config/notifications.js';
import type { Layout } from '../../repository/layout.js';
import { unconfirmedOf } from './confirmations.js';
import { Deliveries } from './deliveries.js';
import { handOver } from './hand-over.js';
import { Heartbeat } from './heartbeat.js';
import { type NotificationEvent, tamed } from './message.js';
import { lostCount, Queue, queueIds, type Waiting } from './outbox.js';
import { type Recipient, recipientsOf, takes } from './recipient.js';
import type { FailingWay, NotificationReport } from './report.js';
import { attempt, DEADLINE_MS } from './send.js';

export interface NotifierOptions {
  readonly layout: Layout;
  /** Null where nobody is to be told. */
  readonly config: Notifications | null;
  readonly log?: Logger;
  /** The wall clock. */
  readonly nowMs?: () => number;
  readonly hostname?: string;
  /** For each attempt. */
  readonly deadlineMs?: number;
}

const BACKOFF_MS_MIN = 60_000;
const BACKOFF_MS_MAX = 3_600_000;
const GIVEN_UP_AFTER_MS = 7 * 86_400_000;
const CLOSE_MS_MAX = 900;

export class Notifier implements AsyncDisposable {
  readonly #layout: Layout;
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #hostname: string;
  readonly #deadlineMs: number;
  readonly #deliveries: Deliveries;
  readonly #heartbeat: Heartbeat;
  readonly #queues = new Map<string, Queue>();
  /** When recipients that refused may be tried again. */
  readonly #retryMs = new Map<string, number>();
  readonly #closing = new AbortController();
  readonly #working = new Set<Promise<void>>();
  #config: Notifications | null = null;
  #recipients: readonly Recipient[] = [];

  /** Finds what an earlier process left waiting.
   *  @throws {CairnError} IO | NOT_PERMITTED where that cannot be read */
  constructor(options: NotifierOptions) {
    this.#layout = options.layout;
    this.#log = options.log ?? silentLog;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#hostname = options.hostname ?? hostname();
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    // Every attempt listens, and there may be many recipients.
    setMaxListeners(0, this.#closing.signal);
    this.#deliveries = new Deliveries(this.#layout, this.#log);
    this.#heartbeat = new Heartbeat(this.#deliveries, this.#nowMs, this.#deadlineMs);
    for (const id of queueIds(this.#layout)) this.#queue(id);
    this.reconfigure(options.config);
  }

  /** When the digest is due, in minutes after midnight; null where none is wanted. */
  get digestMinute(): number | null {
    return this.#config?.digestMinute ?? null;
  }

  /** Whether anybody is told anything. */
  get isWanted(): boolean {
    return this.#recipients.length > 0;
  }

  /** How the daemon found things, which the heartbeat depends on. */
  looked(isCritical: boolean): void {
    this.#heartbeat.looked(isCritical);
  }

  /** Counts from the next attempt on. Messages for whoever is gone go to those that came since; whoever was there before
   *  has had his own.
   *  @throws {CairnError} IO | NOT_PERMITTED where what waits cannot be read */
  reconfigure(config: Notifications | null): void {
    this.#config = config;
    this.#recipients = recipientsOf(config);
    // Now, since a message must find its queue even where nothing can be read any more.
    const ids = this.#recipients.map(({ id }) => this.#queue(id).id);
    const beat = config?.heartbeat == null ? [] : [HEARTBEAT];
    this.#deliveries.configure([...ids, ...this.#orphans().map(({ id }) => id), ...beat], this.#nowMs());
    this.#retryMs.clear();
  }

  /** Durable when it returns, for each recipient that takes such events.
   *  @throws {CairnError} NO_SPACE | READ_ONLY | NOT_PERMITTED | IO; the event is sent all the same as long as this process
   *  lives, since a full file system may be what it tells of */
  post(event: NotificationEvent): void {
    const takers = this.#recipients.filter((recipient) => takes(recipient, event.kind));
    const message = {
      ...tamed(event),
      id: randomUUID(),
      at: new Date(this.#nowMs()).toISOString(),
      hostname: this.#hostname,
      repository: this.#layout.dir,
      addressed: takers.map(({ id }) => id),
      omitted: null,
    };
    let failure: unknown;
    for (const { id, way, recipient } of takers) {
      try {
        this.#queue(id).add({ ...message, way, recipient });
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Tries whatever is due. Resolves when all that it began has ended, so a caller with other work does not wait for it;
   *  what is being sent already is left alone. Never rejects. */
  async pump(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    for (const orphan of this.#orphans()) this.#settle(orphan);
    const route = this.#config?.heartbeat ?? null;
    const beat = route === null ? [] : [this.#heartbeat.beat(route, this.#closing.signal)];
    const sent = this.#recipients.map((recipient) => this.#send(recipient));
    const work = Promise.allSettled([...beat, ...sent]).then((results) => this.#logFaults(results));
    this.#working.add(work);
    await work;
    this.#working.delete(work);
  }

  /** @throws {CairnError} IO | NOT_PERMITTED */
  report(): NotificationReport {
    const queues = [...this.#queues.values()];
    const oldest = queues.flatMap(({ oldestMs }) => oldestMs ?? []);
    const nowMs = this.#nowMs();
    return {
      pending: queues.reduce((sum, { length }) => sum + length, 0),
      oldestPending: oldest.length === 0 ? null : new Date(Math.min(...oldest)).toISOString(),
      failing: [...this.#failing(), ...this.#orphans().map((orphan) => this.#forgotten(orphan))],
      lost: lostCount(this.#layout),
      unconfirmed: unconfirmedOf(this.#layout, this.#recipients, this.#deliveries, nowMs),
    };
  }

  /** Ends within a second whatever is being sent. What waits goes on waiting. */
  async close(): Promise<void> {
    this.#closing.abort();
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS_MAX);
    });
    await Promise.race([Promise.all(this.#working), enough]);
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** One message after the other, until none waits or one is refused. */
  async #send(recipient: Recipient): Promise<void> {
    const queue = this.#queue(recipient.id);
    if (queue.sending !== null || this.#pauses(recipient.id)) return;
    for (let next = queue.first; next !== undefined; next = queue.first) {
      if (!(await this.#sendOne(recipient, queue, next))) return;
    }
  }

  /** @returns whether the next may go */
  async #sendOne(recipient: Recipient, queue: Queue, waiting: Waiting): Promise<boolean> {
    const message = queue.read(waiting);
    if (message === null) {
      queue.drop(waiting);
      return true;
    }
    queue.sending = waiting;
    try {
      const { signal: abandon } = this.#closing;
      const made = await attempt(recipient, message, { deadlineMs: this.#deadlineMs, abandon });
      if (made.outcome === 'accepted') this.#accepted(queue, waiting);
      if (made.outcome === 'refused') this.#refused(recipient, queue, made.error);
      return made.outcome === 'accepted' && !this.#closing.signal.aborted && this.#isConfigured(recipient);
    } finally {
      queue.sending = null;
    }
  }

  #accepted(queue: Queue, waiting: Waiting): void {
    queue.drop(waiting);
    this.#retryMs.delete(queue.id);
    this.#deliveries.succeeded(queue.id, this.#nowMs());
  }

  #refused({ id, label }: Recipient, queue: Queue, error: string): void {
    const nowMs = this.#nowMs();
    this.#deliveries.failed(id, error, nowMs);
    const failures = this.#deliveries.of(id)?.failures ?? 1;
    const pauseMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(failures - 1, 20));
    this.#retryMs.set(id, nowMs + pauseMs);
    this.#log.warn({ way: label, error, failures, waiting: queue.length }, 'a notification was not accepted');
    this.#giveUpOld(queue, error);
  }

  #giveUpOld(queue: Queue, error: string): void {
    const nowMs = this.#nowMs();
    for (const waiting of queue.olderThan(nowMs - GIVEN_UP_AFTER_MS)) {
      const message = queue.read(waiting);
      if (message === null) queue.drop(waiting);
      else queue.giveUp(waiting, { message, error, nowMs });
      this.#log.error({ to: queue.id, name: waiting.name }, 'a notification is given up');
    }
  }

  /** Also where the clock was put back far. */
  #pauses(id: string): boolean {
    const leftMs = (this.#retryMs.get(id) ?? 0) - this.#nowMs();
    return leftMs > 0 && leftMs <= BACKOFF_MS_MAX;
  }

  #isConfigured(recipient: Recipient): boolean {
    return this.#recipients.includes(recipient);
  }

  /** Queues whose recipient the configuration does not name any more. */
  #orphans(): Queue[] {
    const ids = new Set(this.#recipients.map(({ id }) => id));
    return [...this.#queues.values()].filter(({ id, length }) => !ids.has(id) && length > 0);
  }

  #settle(orphan: Queue): void {
    if (orphan.sending !== null) return;
    const queueOf = (id: string) => this.#queue(id);
    if (!handOver(orphan, { recipients: this.#recipients, queueOf, log: this.#log }))
      this.#giveUpOld(orphan, 'the way is not configured any more');
  }

  #queue(id: string): Queue {
    const queue = this.#queues.get(id) ?? new Queue(this.#layout, id, this.#log);
    this.#queues.set(id, queue);
    return queue;
  }

  #failing(): FailingWay[] {
    const labels = new Map(this.#recipients.map(({ id, label }) => [id, label]));
    return this.#deliveries.failing.flatMap(({ id, failingSince, error }) => {
      const name = id === HEARTBEAT ? HEARTBEAT : labels.get(id);
      return name === undefined ? [] : [{ name, since: failingSince ?? '', error: error ?? '' }];
    });
  }

  #forgotten({ id, oldestMs, length }: Queue): FailingWay {
    const [name = id] = id.split('+');
    const error = `it is not configured any more, and ${length === 1 ? 'a message waits' : `${length} messages wait`}`;
    return { name, since: new Date(oldestMs ?? this.#nowMs()).toISOString(), error };
  }

  #logFaults(results: readonly PromiseSettledResult<void>[]): void {
    for (const result of results) {
      if (result.status === 'rejected') this.#log.error({ err: result.reason }, 'notifications have a fault');
    }
  }
}
