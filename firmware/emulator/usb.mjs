// The PC's end of the USB cable: enumerates the board, finds its CDC serial interface and moves bytes.
// An OUT endpoint that the board has armed is answered only when there is data (a real host's packets are
// NAKed, which costs the board nothing), so nothing is lost and an idle board stays idle.

import { DataDirection, SetupRecipient, SetupType, createSetupPacket, getDescriptorPacket,
  setDeviceAddressPacket, setDeviceConfigurationPacket } from 'rp2040js';

const CONFIGURATION = 2; // descriptor type
const INTERFACE = 4;
const ENDPOINT = 5;
const CDC_DATA = 10; // interface class
const BULK = 2;
const SET_CONTROL_LINE_STATE = 0x22;
const DTR_RTS = 3;
const HEADER = 9; // bytes of a configuration descriptor, total length at 2..3
const PACKET_MICROSECONDS = 50; // 64 bytes each: 1.28 MB/s, what full speed gives

const lineState = () => createSetupPacket({
  dataDirection: DataDirection.HostToDevice,
  type: SetupType.Class,
  recipient: SetupRecipient.Device,
  bRequest: SET_CONTROL_LINE_STATE,
  wValue: DTR_RTS,
  wIndex: 0,
  wLength: 0,
});

// The bulk endpoints of the first CDC data interface: { in, out }.
function dataEndpoints(descriptors) {
  const found = {};
  let inside = false;
  for (let i = 0; i < descriptors.length && descriptors[i] > 1; i += descriptors[i]) {
    const type = descriptors[i + 1];
    if (type === INTERFACE) { inside = descriptors[i + 5] === CDC_DATA; }
    if (inside && type === ENDPOINT && (descriptors[i + 3] & 3) === BULK) {
      const address = descriptors[i + 2];
      found[address & 0x80 ? 'in' : 'out'] ??= address & 0xf;
    }
  }
  return found;
}

export class UsbSerial {
  // onData(bytes) is called with what the board sends.
  constructor(controller, onData) {
    this.controller = controller;
    this.endpoints = {};
    this.armed = 0; // bytes that the board's OUT buffer takes; 0 while it is not armed
    this.queue = []; // chunks for the board, oldest first
    this.queued = 0; // bytes in queue
    this.connected = false;
    this.descriptors = [];

    controller.onUSBEnabled = () => controller.resetDevice();
    controller.onResetReceived = () => this.setup(setDeviceAddressPacket(1));
    controller.onEndpointWrite = (endpoint, bytes) => {
      if (endpoint === 0) {
        this.control(bytes);
      } else if (endpoint === this.endpoints.in) {
        onData(bytes);
      }
    };
    controller.onEndpointRead = (endpoint, size) => {
      if (endpoint === this.endpoints.out) {
        this.armed = size;
        this.feed();
      }
    };
  }

  setup(packet) {
    this.controller.sendSetupPacket(packet);
  }

  // Enumeration: address, configuration descriptor (header, then all of it), set configuration, raise DTR.
  control(bytes) {
    if (bytes.length === 0) { // a status stage: the last request is done
      if (!this.total) {
        this.setup(getDescriptorPacket(CONFIGURATION, HEADER));
      } else if (!this.connected && this.endpoints.out) {
        this.connected = true;
        this.setup(lineState());
      }
    } else if (!this.total) {
      this.total = bytes[2] | (bytes[3] << 8);
      this.setup(getDescriptorPacket(CONFIGURATION, this.total));
    } else if (!this.endpoints.out) {
      this.descriptors.push(...bytes);
      if (this.descriptors.length >= this.total) {
        this.endpoints = dataEndpoints(this.descriptors);
        this.setup(setDeviceConfigurationPacket(1));
      }
    }
  }

  send(bytes) {
    this.queue.push(bytes);
    this.queued += bytes.length;
    this.feed();
  }

  feed() {
    if (!this.armed || !this.queued) { return; }
    const head = this.queue[0];
    const packet = head.subarray(0, this.armed);
    if (packet.length === head.length) {
      this.queue.shift();
    } else {
      this.queue[0] = head.subarray(packet.length);
    }
    this.queued -= packet.length;
    this.armed = 0;
    this.controller.endpointReadDone(this.endpoints.out, packet, PACKET_MICROSECONDS);
  }
}
