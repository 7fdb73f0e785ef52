/** Thawing a guest, whatever it takes: nothing of the machine goes on that writes to a frozen file system. */
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAgent, isGone } from './guest-agent.js';

/** An agent that is still freezing answers when it has done so. */
const SYNC_MS_MAX = 10_000;
const STATUS_MS_MAX = 5_000;
const PAUSE_MS = 200;
const PAUSE_MS_MAX = 5_000;

/** Tries until the agent says that nothing is frozen, with `agent` first where there is a connection already, which is closed.
 *  @returns null when it says so, or when nobody serves the socket any more, since no machine is left then; otherwise
 *  why it could not be seen within `forMsMax`: a clause */
export async function thawForSure(
  socket: string,
  agent: GuestAgent | null,
  forMsMax: number,
): Promise<string | null> {
  const deadlineMs = performance.now() + forMsMax;
  let connected = agent;
  for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      connected ??= await GuestAgent.connect(socket, SYNC_MS_MAX);
      if (await isThawed(connected)) return null;
    } catch (error) {
      if (isGone(error)) return null;
      if (performance.now() + pauseMs > deadlineMs)
        return error instanceof Error ? error.message : String(error);
    } finally {
      connected?.close();
      connected = null;
    }
    await sleep(pauseMs);
  }
}

/** A thaw that is refused where nothing is frozen is fine, too. */
async function isThawed(agent: GuestAgent): Promise<boolean> {
  const refusal = await agent.thaw().then(
    () => null,
    (error: unknown) => error,
  );
  if ((await agent.status(STATUS_MS_MAX)) === 'thawed') return true;
  if (refusal !== null) throw refusal;
  return false;
}
