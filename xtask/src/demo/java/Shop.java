// The web application of the incident, as a servlet: it keeps a pool of connections to Redis, which
// replaces one of them now and then, and a request to it uses a class for the first time, which its
// class loader looks for in every jar. It never raises a limit nor opens a jar itself.

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.Socket;
import java.util.ArrayDeque;
import java.util.Queue;

public final class Shop extends HttpServlet {
    private final Queue<Socket> pool = new ArrayDeque<>();

    @Override
    public void init() {
        int size = Integer.parseInt(getInitParameter("pool"));
        int port = Integer.parseInt(getInitParameter("redis"));
        Thread keeper = new Thread(() -> keep(size, port), "redis-pool");
        keeper.setDaemon(true);
        keeper.start();
    }

    /** Fills the pool, then replaces its oldest connection twice a second. */
    private void keep(int size, int port) {
        try {
            while (true) {
                Thread.sleep(renew(size, port));
            }
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    /** Makes one more connection, in place of the oldest where there are enough; gives how long to wait. */
    private long renew(int size, int port) {
        try {
            Socket socket = new Socket("127.0.0.1", port);
            pool.add(socket);
            socket.getOutputStream().write("PING\r\n".getBytes());
            if (socket.getInputStream().read() != '+') {
                throw new IOException("Redis did not answer");
            }
            if (pool.size() > size) {
                pool.remove().close();
            }
            return pool.size() < size ? 0 : 500;
        } catch (IOException failed) {
            log("redis-pool: " + failed);
            return 200;
        }
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response)
            throws IOException {
        if ("first".equals(request.getQueryString())) {
            try {
                Class.forName("shop.Promotion");
            } catch (ClassNotFoundException | LinkageError failed) {
                log("first use of a class: " + failed);
            }
        }
        response.getWriter().println("connections " + pool.size());
    }
}
