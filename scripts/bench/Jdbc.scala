// A JDBC client that measures: Hive's driver, as Spark's jars have it. Every line that it prints is one figure.
//
//   rows URL FETCH         seconds to the first row and to the last one, and how many there were, of each statement that
//                          a line of its input is
//   latency URL TURNS SQL  milliseconds of each execution with its row, after as many turns to warm up, once for each
//                          line of its input
//   connect URL TURNS SQL  milliseconds from a connection's start to its first row, once for each byte of its input
//   hold URL COUNT SQL     opens so many connections, each with a statement run, and keeps them until its input ends
//
// The first two use one connection, and say first how many milliseconds it took to open.

import java.sql.{Connection, DriverManager, ResultSet, Types}
import java.util.concurrent.{Callable, Executors}
import scala.io.Source
import scala.jdk.CollectionConverters._

object Jdbc {
  def main(arguments: Array[String]): Unit = {
    Class.forName("org.apache.hive.jdbc.HiveDriver")
    val Array(what, url, number, sql) = arguments.padTo(4, "")
    what match {
      case "rows"    => rows(url, number.toInt)
      case "latency" => latency(url, number.toInt, sql)
      case "connect" => for (_ <- 1 to number.toInt if System.in.read() >= 0) println(milliseconds(connecting(url, sql)))
      case "hold"    => hold(url, number.toInt, sql)
    }
  }

  private def open(url: String): Connection = DriverManager.getConnection(url, "bench", "")

  private def milliseconds(work: => Unit): Double = {
    val begun = System.nanoTime()
    work
    (System.nanoTime() - begun) / 1e6
  }

  private def opened(url: String): Connection = {
    var connection: Connection = null
    println(milliseconds { connection = open(url) })
    connection
  }

  private def rows(url: String, fetch: Int): Unit = {
    val connection = opened(url)
    for (sql <- Source.stdin.getLines()) fetched(connection, fetch, sql)
    connection.close()
  }

  private def fetched(connection: Connection, fetch: Int, sql: String): Unit = {
    val statement = connection.createStatement()
    statement.setFetchSize(fetch)
    val begun = System.nanoTime()
    def seconds = (System.nanoTime() - begun) / 1e9
    val result = statement.executeQuery(sql)
    val types = (1 to result.getMetaData.getColumnCount).map(result.getMetaData.getColumnType).toArray
    var count = 0L
    while (result.next()) {
      if (count == 0) println(seconds)
      count += 1
      read(result, types)
    }
    println(seconds)
    println(count)
    statement.close()
  }

  // As a program reads them: each column by the getter of its type.
  private def read(result: ResultSet, types: Array[Int]): Unit = {
    var at = 0
    while (at < types.length) {
      types(at) match {
        case Types.BIGINT    => result.getLong(at + 1)
        case Types.INTEGER   => result.getInt(at + 1)
        case Types.DOUBLE    => result.getDouble(at + 1)
        case Types.BOOLEAN   => result.getBoolean(at + 1)
        case Types.DECIMAL   => result.getBigDecimal(at + 1)
        case Types.DATE      => result.getDate(at + 1)
        case Types.TIMESTAMP => result.getTimestamp(at + 1)
        case _               => result.getString(at + 1)
      }
      at += 1
    }
  }

  private def once(connection: Connection, sql: String): Unit = {
    val statement = connection.createStatement()
    val result = statement.executeQuery(sql)
    require(result.next(), "there is no row")
    statement.close()
  }

  private def latency(url: String, turns: Int, sql: String): Unit = {
    val connection = opened(url)
    for (_ <- Source.stdin.getLines()) {
      for (_ <- 1 to turns) once(connection, sql)
      for (_ <- 1 to turns) println(milliseconds(once(connection, sql)))
    }
    connection.close()
  }

  private def connecting(url: String, sql: String): Unit = {
    val connection = open(url)
    once(connection, sql)
    connection.close()
  }

  private def hold(url: String, count: Int, sql: String): Unit = {
    val threads = Executors.newFixedThreadPool(8)
    val opening: Callable[Connection] = () => {
      val connection = open(url)
      once(connection, sql)
      connection
    }
    val opened = threads.invokeAll(Seq.fill(count)(opening).asJava).asScala.map(_.get)
    println(opened.size)
    System.in.read()
    threads.invokeAll(opened.map(each => { val closing: Callable[Unit] = () => each.close(); closing }).asJava)
    threads.shutdown()
  }
}
