import java.net.InetAddress;
import java.io.IOException;
import org.openmuc.j60870.*;
import org.openmuc.j60870.ie.*;

/** An engineer and a station that obeys, for what control centres seldom ask: Engineering serve|ask ADDRESS. */
public class Engineering {
    static final int SUBSTATION = 48, DISTURBANCE = 2000, CONFIGURATION = 2001;

    public static void main(String[] args) throws Exception {
        if (args[0].equals("serve")) {
            serve(args[1]);
        } else {
            ask(args[1]);
        }
    }

    static void serve(String address) throws Exception {
        Server.builder().setBindAddr(InetAddress.getByName(address)).setPort(2405).build().start(new ServerEventListener() {
            public void connectionIndication(Connection c) {
                try {
                    c.waitForStartDT(new Obey(c), 5000);
                } catch (IOException e) {
                    e.printStackTrace();
                }
            }

            public void serverStoppedListeningIndication(IOException e) {}

            public void connectionAttemptFailed(IOException e) {}
        });
    }

    /** Obey confirms whatever is asked, and has one file of one section. */
    static class Obey implements ConnectionEventListener {
        final Connection c;

        Obey(Connection c) {
            this.c = c;
        }

        public void newASdu(ASdu a) {
            try {
                if (a.getTypeIdentification() == ASduType.F_SC_NA_1) {
                    file(a);
                } else if (a.getTypeIdentification().getId() < 120) {
                    c.sendConfirmation(a, SUBSTATION);
                }
            } catch (IOException e) {
                e.printStackTrace();
            }
        }

        void file(ASdu a) throws IOException {
            InformationObject o = a.getInformationObjects()[0];
            InformationElement[] e = o.getInformationElements()[0];
            IeNameOfFile name = (IeNameOfFile) e[0];
            int ioa = o.getInformationObjectAddress();
            byte[] content = "station log".getBytes();
            switch (((IeSelectAndCallQualifier) e[2]).getRequest()) {
                case 1:
                    c.fileReady(SUBSTATION, ioa, name, new IeLengthOfFileOrSection(content.length), new IeFileReadyQualifier(0, false));
                    break;
                case 2:
                    c.sectionReady(SUBSTATION, ioa, name, new IeNameOfSection(1), new IeLengthOfFileOrSection(content.length), new IeSectionReadyQualifier(0, false));
                    break;
                case 6:
                    c.sendSegment(SUBSTATION, ioa, name, new IeNameOfSection(1), new IeFileSegment(content, 0, content.length));
                    c.lastSectionOrSegment(SUBSTATION, ioa, name, new IeNameOfSection(1), new IeLastSectionOrSegmentQualifier(3), new IeChecksum(0x5d));
                    break;
                default:
            }
        }

        public void connectionClosed(IOException e) {}

        public void dataTransferStateChanged(boolean stopped) {}
    }

    static void ask(String address) throws Exception {
        Connection c = new ClientConnectionBuilder(address).setPort(2405).build();
        c.startDataTransfer(new ConnectionEventListener() {
            public void newASdu(ASdu a) {}

            public void connectionClosed(IOException e) {}

            public void dataTransferStateChanged(boolean stopped) {}
        }, 5000);
        CauseOfTransmission act = CauseOfTransmission.ACTIVATION, transfer = CauseOfTransmission.FILE_TRANSFER;
        IeNameOfFile log = new IeNameOfFile(1);
        pause();
        c.resetProcessCommand(SUBSTATION, new IeQualifierOfResetProcessCommand(1));
        pause();
        c.parameterShortFloatCommand(SUBSTATION, 500, new IeShortFloat(0.5f), new IeQualifierOfParameterOfMeasuredValues(4, false, false));
        pause();
        c.parameterActivation(SUBSTATION, act, 500, new IeQualifierOfParameterActivation(3));
        pause();
        c.delayAcquisitionCommand(SUBSTATION, act, new IeTime16(25));
        pause();
        c.testCommand(SUBSTATION);
        pause();
        // A log is fetched, a configuration is sent and another one deleted.
        c.callOrSelectFiles(SUBSTATION, CauseOfTransmission.REQUEST, DISTURBANCE, new IeNameOfFile(0), new IeNameOfSection(0), new IeSelectAndCallQualifier(0, 0));
        pause();
        for (int request : new int[] {1, 2, 6}) {
            c.callOrSelectFiles(SUBSTATION, transfer, DISTURBANCE, log, new IeNameOfSection(request == 6 ? 1 : 0), new IeSelectAndCallQualifier(request, 0));
            pause();
        }
        c.ackFileOrSection(SUBSTATION, DISTURBANCE, log, new IeNameOfSection(1), new IeAckFileOrSectionQualifier(3, 0));
        pause();
        byte[] settings = "trip = never".getBytes();
        c.fileReady(SUBSTATION, CONFIGURATION, new IeNameOfFile(2), new IeLengthOfFileOrSection(settings.length), new IeFileReadyQualifier(0, false));
        pause();
        c.sendSegment(SUBSTATION, CONFIGURATION, new IeNameOfFile(2), new IeNameOfSection(1), new IeFileSegment(settings, 0, settings.length));
        pause();
        c.callOrSelectFiles(SUBSTATION, transfer, DISTURBANCE, log, new IeNameOfSection(0), new IeSelectAndCallQualifier(4, 0));
        pause();
        c.close();
    }

    static void pause() throws InterruptedException {
        Thread.sleep(200);
    }
}
