import { setTimeout as sleep } from 'node:timers/promises';
import { KafkaError } from './error.ts';
import type { RecordError } from './produce.ts';

/** A fault that a test injects into one request. The fields can be combined. */
export interface Fault {
  /** Delay before the request is handled, in milliseconds. */
  delayMs?: number;
  /** Reject the request with this error and store nothing. */
  reject?: { status: number; error?: string };
  /** Reject the messages at these indexes of a produce request and store the others. */
  rejectRecords?: readonly { index: number; status: number; error?: string }[];
  /** Close the connection without a response, before or after the request is handled. */
  drop?: 'before' | 'after';
  /** Delay between handling the request and sending the response, in milliseconds. */
  responseDelayMs?: number;
}

/** The request that a fault is chosen for. `records` are the messages of a produce request, not validated. */
export interface FaultyRequest {
  method: string;
  path: string;
  records?: readonly unknown[];
}

export type ChooseFault = (request: FaultyRequest) => Fault | undefined | Promise<Fault | undefined>;

/** Thrown to close the connection without a response. */
export class DroppedConnection extends Error {}

/** Applies the part of a fault that comes before the request is handled. */
export async function failBefore(fault: Fault | undefined, signal: AbortSignal): Promise<void> {
  if (fault?.delayMs !== undefined) await pause(fault.delayMs, signal);
  if (fault?.drop === 'before') throw new DroppedConnection();
  if (fault?.reject === undefined) return;
  throw new KafkaError(fault.reject.status, fault.reject.error ?? 'Rejected by an injected fault');
}

/** Applies the part of a fault that comes between handling the request and sending the response. */
export async function failAfter(fault: Fault | undefined, signal: AbortSignal): Promise<void> {
  if (fault?.responseDelayMs !== undefined) await pause(fault.responseDelayMs, signal);
  if (fault?.drop === 'after') throw new DroppedConnection();
}

/** The injected errors of a produce request, by the index of the message. */
export function injectedRecordErrors(fault: Fault | undefined): Map<number, RecordError> {
  return new Map(
    fault?.rejectRecords?.map(({ index, status, error = 'Rejected by an injected fault' }) => [
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
