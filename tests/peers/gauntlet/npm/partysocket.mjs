import { WebSocket } from "partysocket";
import { follow } from "./reconnecting.mjs";

follow(WebSocket);
