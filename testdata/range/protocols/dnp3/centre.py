"""A master: what it asks of an outstation, in order. The test of the capture lists the same."""

import os
import threading
import time

import opendnp3 as dnp3

F = dnp3.FunctionCode


class Values(dnp3.ISOEHandler):
    def BeginFragment(self, info):
        pass

    def EndFragment(self, info):
        pass

    def Process(self, *_):
        pass

    def OnDeviceAttribute(self, *_):
        pass


class Application(dnp3.IMasterApplication):
    def Now(self):
        return dnp3.UTCTimestamp(int(time.time() * 1000))

    def OnTaskComplete(self, info):
        pass

    def OnTaskStart(self, kind, task):
        pass

    def OnOpen(self):
        pass

    def OnClose(self):
        pass

    def OnReceiveIIN(self, iin):
        pass

    def AssignClassDuringStartup(self):
        return False


class Listener(dnp3.IChannelListener):
    def OnStateChange(self, state):
        pass


def master(channel, address):
    config = dnp3.MasterStackConfig()
    config.master.responseTimeout = dnp3.TimeDuration.Seconds(2)
    config.master.disableUnsolOnStartup = True
    config.master.timeSyncMode = dnp3.TimeSyncMode.LAN
    config.link.LocalAddr, config.link.RemoteAddr = 1, address
    x = channel.AddMaster(f"master of {address}", values, application, config)
    x.Enable()
    time.sleep(2)
    return x


def say(what, order):
    """Gives an order, and waits until it is done."""
    done = threading.Event()
    answer = []

    def back(*result):
        answer.append(result)
        done.set()

    order(back)
    done.wait(3)
    print(what, [getattr(r, "summary", r) for r in answer[0]] if answer else "no answer", flush=True)
    time.sleep(0.2)


def perform(name, function, *headers):
    plant.PerformFunction(name, function, list(headers))
    time.sleep(0.5)


values, application, listener = Values(), Application(), Listener()
manager = dnp3.DNP3Manager(1)
quiet = dnp3.LogLevels.none()
station, centre = os.environ["STATION"], os.environ["CENTRE"]
tcp = manager.AddTCPClient("tcp", quiet, dnp3.ChannelRetry.Default(), [dnp3.IPEndpoint(station, 20000)], centre, listener)
plant = master(tcp, 10)  # which turns reports off, reads everything and turns them on

All = dnp3.Header.AllObjects
time.sleep(7)  # for what the station reports
plant.ScanClasses(dnp3.ClassField.AllClasses(), values)
time.sleep(1)
plant.ScanRange(dnp3.GroupVariationID(30, 2), 0, 2, values)
time.sleep(0.5)
O = dnp3.OperationType
Block = dnp3.ControlRelayOutputBlock
say("select, operate", lambda back: plant.SelectAndOperate(Block(O.LATCH_ON), 0, back))
say("direct", lambda back: plant.DirectOperate(Block(O.LATCH_OFF), 0, back))
say("pulse", lambda back: plant.DirectOperate(Block(O.PULSE_ON, dnp3.TripCloseCode.TRIP, False, 2, 250, 750), 2, back))
say("refused", lambda back: plant.SelectAndOperate(Block(O.LATCH_ON), 3, back))
say("set point", lambda back: plant.DirectOperate(dnp3.AnalogOutputFloat32(231.5), 0, back))
say("set point", lambda back: plant.SelectAndOperate(dnp3.AnalogOutputInt16(-120), 1, back))
plant.Freeze(dnp3.FreezeType.FreezeAndClear, [All(20, 0)])
time.sleep(0.5)
say("deadband", lambda back: plant.WriteDeadBands([dnp3.IndexedAnalogInputDeadband(dnp3.AnalogInputDeadband(1000), 0)], back))
perform("assign class", F.ASSIGN_CLASS, All(60, 1), All(1, 0))
perform("stop", F.STOP_APPLICATION, All(60, 1))
perform("save", F.INITIALIZE_DATA, All(60, 1))
say("who", lambda back: plant.AuthenticateFile("operator", "Seven-Secret-Words", back))
say("file", lambda back: plant.GetFileInfo("log.txt", back))
say("read", lambda back: plant.ReadFile("log.txt", back))
say("write", lambda back: plant.WriteFile("settings.xml", b"<trip>never</trip>", dnp3.FilePermissions(), back))
say("delete", lambda back: plant.DeleteFile("log.txt", back))
say("warm", lambda back: plant.Restart(dnp3.RestartType.WARM, back))
say("cold", lambda back: plant.Restart(dnp3.RestartType.COLD, back))
perform("silence", F.DISABLE_UNSOLICITED, All(60, 2), All(60, 3), All(60, 4))
plant.Shutdown()
udp = manager.AddUDPChannel("udp", quiet, dnp3.ChannelRetry.Default(), dnp3.IPEndpoint(centre, 20000), dnp3.IPEndpoint(station, 20000), listener)
other = master(udp, 11)
say("select, operate", lambda back: other.SelectAndOperate(Block(O.LATCH_ON), 1, back))
os._exit(0)
