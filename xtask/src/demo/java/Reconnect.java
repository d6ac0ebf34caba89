// A client that connects and closes at once, again and again, so that its stack is to be named. It
// never sends anything.

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.Socket;

public final class Reconnect {
    public static void main(String[] words) {
        int port = Integer.parseInt(words[0]);
        new Thread(() -> keepTrying(port), "Reconnect").start();
        System.out.println("ready");
        System.out.flush();
    }

    private static void keepTrying(int port) {
        while (true) {
            tryOnce(port);
            try {
                Thread.sleep(500);
            } catch (InterruptedException stopped) {
                return;
            }
        }
    }

    private static void tryOnce(int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", port));
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }
}
