/** Ids of the reasons that unit-router.ts gives, looked up once. */
import { reasonId } from '../routing/reasons.ts';

export const BATCH = reasonId('batch');
export const BLOCK = reasonId('block');
export const READ_ONLY_BLOCK = reasonId('read only block');
export const SERIALIZABLE = reasonId('serializable');
export const FUNCTION_CALL = reasonId('function call');
export const SESSION_MODE = reasonId('session mode');
export const SESSION_ROUTE = reasonId('session route');
export const TOO_LONG = reasonId('too long');
export const HINT_PRIMARY = reasonId('hint primary');
export const HINT_REPLICA = reasonId('hint replica');
export const HINT_NODE = reasonId('hint node');
export const BALANCED = reasonId('balanced');
export const SHADOW = reasonId('shadow');
