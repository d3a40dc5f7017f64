import { setTimeout as sleep } from 'node:timers/promises';
import { KafkaError } from './error.ts';
import type { Refusal } from './produce.ts';

/** What a test can have go wrong with one request; the parts may be combined. */
export interface Fault {
  /** Wait, in milliseconds, before anything is done. */
  delayMs?: number;
  /** Answer this error and accept nothing. */
  refuse?: { status: number; error?: string };
  /** Refuse the messages at these places of a produce request and accept the others. */
  refuseRecords?: readonly { index: number; status: number; error?: string }[];
  /** Break the connection without an answer: before anything was done, or after it was. */
  drop?: 'before' | 'after';
  /** Wait, in milliseconds, after everything was done and before it is answered. */
  answerDelayMs?: number;
}

/** The request that a fault is chosen for; `records` are the messages of a produce request, not checked yet. */
export interface FaultyRequest {
  method: string;
  path: string;
  records?: readonly unknown[];
}

export type ChooseFault = (request: FaultyRequest) => Fault | undefined | Promise<Fault | undefined>;

/** Thrown to break the connection. */
export class DroppedConnection extends Error {}

/** The part of a fault that comes before the request is handled. */
export async function failBefore(fault: Fault | undefined, signal: AbortSignal): Promise<void> {
  if (fault?.delayMs !== undefined) await pause(fault.delayMs, signal);
  if (fault?.drop === 'before') throw new DroppedConnection();
  if (fault?.refuse === undefined) return;
  throw new KafkaError(fault.refuse.status, fault.refuse.error ?? 'Refused by the fault of a test');
}

/** The part of a fault that comes between handling the request and answering it. */
export async function failAfter(fault: Fault | undefined, signal: AbortSignal): Promise<void> {
  if (fault?.answerDelayMs !== undefined) await pause(fault.answerDelayMs, signal);
  if (fault?.drop === 'after') throw new DroppedConnection();
}

export function refusedRecords(fault: Fault | undefined): Map<number, Refusal> {
  return new Map(
    fault?.refuseRecords?.map(({ index, status, error = 'Refused by the fault of a test' }) => [
      index,
      { error, status },
    ]),
  );
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {
    throw new DroppedConnection();
  });
}
