"""An outstation, by opendnp3: over TCP, and another over UDP, both on port 20000."""

import os
import signal
import sys
import time

import opendnp3 as dnp3


class Outputs(dnp3.ICommandHandler):
    """Obeys, but for output 3."""

    def Begin(self):
        pass

    def End(self):
        pass

    def Select(self, command, index):
        return dnp3.CommandStatus.SUCCESS if index != 3 else dnp3.CommandStatus.NOT_AUTHORIZED

    def Operate(self, command, index, handler, kind):
        return self.Select(command, index)


class Files(dnp3.IFileHandler):
    """Has one file, and takes whatever it is given."""

    def AuthenticateFile(self, username, password):
        r = dnp3.OutstationFileAuthResult()
        r.status, r.authKey = dnp3.FileStatus.SUCCESS, 0x5EC2E7
        return r

    def GetFileInfo(self, filename):
        r = dnp3.FileCommandResult()
        r.status = dnp3.FileStatus.SUCCESS
        r.info = self.about(filename)
        return r

    def about(self, filename):
        info = dnp3.FileInfo()
        info.fileName, info.size, info.type = filename, 11, dnp3.FileType.SIMPLE_FILE
        return info

    def OpenFile(self, filename, key, permissions, mode, block, request):
        r = dnp3.FileOpenResult()
        r.status, r.fileHandle, r.fileSize, r.maxBlockSize = dnp3.FileStatus.SUCCESS, 7, 11, 512
        return r

    def CloseFile(self, handle, request):
        return dnp3.FileStatus.SUCCESS

    def DeleteFile(self, filename):
        return dnp3.FileStatus.SUCCESS

    def ReadBlock(self, handle, number):
        r = dnp3.FileBlockResult()
        r.status, r.data, r.lastBlock = dnp3.FileStatus.SUCCESS, list(b"station log"), True
        return r

    def WriteBlock(self, handle, number, data, last):
        return dnp3.FileStatus.SUCCESS

    def AbortFile(self, handle):
        pass


class Application(dnp3.IOutstationApplication):
    """Restarts when it is told to, and takes its time from the master."""

    def SupportsWriteAbsoluteTime(self):
        return True

    def WriteAbsoluteTime(self, timestamp):
        return True

    def SupportsWriteTimeAndInterval(self):
        return False

    def SupportsAssignClass(self):
        return True

    def RecordClassAssignment(self, kind, clazz, start, stop):
        pass

    def GetApplicationIIN(self):
        return dnp3.ApplicationIIN()

    def ColdRestartSupport(self):
        return dnp3.RestartMode.SUPPORTED_DELAY_COARSE

    def WarmRestartSupport(self):
        return dnp3.RestartMode.SUPPORTED_DELAY_FINE

    def ColdRestart(self):
        return 60

    def WarmRestart(self):
        return 2000

    def OnConfirmProcessed(self, unsolicited, one, two, three):
        pass

    def Now(self):
        return dnp3.DNPTime(int(time.time() * 1000))


class Listener(dnp3.IChannelListener):
    def OnStateChange(self, state):
        pass


def outstation(channel, address):
    config = dnp3.OutstationStackConfig(dnp3.DatabaseConfig(4))
    config.outstation.eventBufferConfig = dnp3.EventBufferConfig.AllTypes(20)
    config.outstation.params.allowUnsolicited = True
    config.link.LocalAddr, config.link.RemoteAddr = address, 1
    x = channel.AddOutstation(f"station {address}", handlers[0], handlers[1], config, handlers[2])
    x.Enable()
    return x


def update(x, what, flags=dnp3.Flags(1)):
    b = dnp3.UpdateBuilder()
    what(b, flags)
    x.Apply(b.Build())


def initial(b, online):
    now = dnp3.DNPTime(int(time.time() * 1000))
    b.Update(dnp3.Binary(True, online, now), 0)
    b.Update(dnp3.Binary(False, online, now), 1)
    b.Update(dnp3.Analog(110.5, online, now), 0)
    b.Update(dnp3.Analog(-412, online, now), 1)
    b.Update(dnp3.Counter(7, online, now), 0)
    b.Update(dnp3.DoubleBitBinary(dnp3.DoubleBit.DETERMINED_ON), 0)
    b.Update(dnp3.BinaryOutputStatus(True), 0)
    b.Update(dnp3.AnalogOutputStatus(230), 0)


def later(b, online):
    now = dnp3.DNPTime(int(time.time() * 1000))
    b.Update(dnp3.Binary(False, online, now), 0)
    b.Update(dnp3.Analog(109.25, dnp3.Flags(0x21), now), 0)
    b.Update(dnp3.Counter(8, online, now), 0)


signal.signal(signal.SIGINT, lambda *_: os._exit(0))
handlers = Outputs(), Application(), Files()
listener = Listener()
manager = dnp3.DNP3Manager(1)
quiet = dnp3.LogLevels.none()
station, centre = os.environ["STATION"], os.environ["CENTRE"]
tcp = manager.AddTCPServer("tcp", quiet, dnp3.ServerAcceptMode.CloseExisting, dnp3.IPEndpoint(station, 20000), listener)
udp = manager.AddUDPChannel("udp", quiet, dnp3.ChannelRetry.Default(), dnp3.IPEndpoint(station, 20000), dnp3.IPEndpoint(centre, 20000), listener)
stations = [outstation(tcp, 10), outstation(udp, 11)]
for x in stations:
    update(x, initial)
time.sleep(9)
update(stations[0], later)
while True:
    time.sleep(60)
