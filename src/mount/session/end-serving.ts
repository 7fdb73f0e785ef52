/** Ends the processes of a mount that is gone, by force where they do not end by themselves. */
import { isRunning, signalProcess, untilEnded, untilEndedOrStopped } from '../../base/process-identity.js';
import { removeRecord, type SessionRecord } from './session-record.js';

const KILLED_MS_MAX = 5_000;
/** For a session to notice that its server has ended. */
const NOTICE_MS_MAX = 2_000;

/** Waits for the server `waitMsMax` and kills it then; the same for its session. One that is stopped is not waited
 *  for. True when the server has ended: not every process can be killed, nor by everybody. */
export async function endServing(record: SessionRecord, waitMsMax: number): Promise<boolean> {
  const { session, server } = record;
  for (const [each, waitMs] of [
    [server, waitMsMax],
    [session, NOTICE_MS_MAX],
  ] as const) {
    if (await untilEndedOrStopped([each], waitMs)) continue;
    signalProcess(each, 'SIGKILL');
    await untilEnded([each], KILLED_MS_MAX);
  }
  if (!isRunning(session)) await removeRecord(record.mountpoint, session);
  return !isRunning(server);
}
