import ReconnectingWebSocket from "reconnecting-websocket";
import { follow } from "./reconnecting.mjs";

follow(ReconnectingWebSocket.default ?? ReconnectingWebSocket);
